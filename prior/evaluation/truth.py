"""Clean renderings to compare with: made in several processes, kept on disk under a key of their content."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, CaptureInfo, Light, Pose
from datasets.errors import VrmmError
from datasets.files import atomic_write
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.head import Subject
from datasets.lightstage.patterns import Pattern
from datasets.lightstage.render import RenderedImage

RENDERER = Path(__file__).parents[2] / "datasets" / "lightstage"


@runtime_checkable
class TruthStage(Protocol):
    """A light stage that can render any of its subjects; ``datasets.lightstage.stage.LightStage`` is one."""

    @property
    def subjects(self) -> Sequence[Subject]:
        """Everyone in the capture."""
        ...

    def held_out_lights(self, count: int) -> Sequence[Pattern]:
        """Patterns that no training frame uses."""
        ...

    def exposed(self, environment: EnvironmentMap) -> EnvironmentMap:
        """The map as bright as the capture's lamps."""
        ...

    def render_truth(
        self,
        subject: str,
        expression: Float[np.ndarray, "E"],
        light: Light | EnvironmentMap,
        camera: Camera,
        pose: Pose,
        samples: int,
    ) -> Any:
        """A picture with ``image`` [3, H, W] linear radiance and ``mask`` [1, H, W]."""
        ...


StageMaker = Callable[[CaptureInfo], TruthStage]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruthRequest:
    """A picture that the light stage can make; units and frames as in ``datasets.capture``.

    Attributes:
        subject: name.
        expression: the head model's control values.
        light: lamps or a place.
        camera: that sees it.
        pose: of the head.
    """

    subject: str
    expression: tuple[float, ...]
    light: Light | EnvironmentMap
    camera: Camera
    pose: Pose

    def content(self) -> dict[str, Any]:
        """Everything the picture depends on but the light stage itself."""
        return {
            "subject": self.subject,
            "expression": [float(value) for value in self.expression],
            "light": {
                name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
                for name, value in vars(self.light).items()
            },
            "camera": {**self.camera.to_json(), "name": "", "split": ""},
            "rotation": self.pose.rotation.tolist(),
            "translation": self.pose.translation.tolist(),
        }


class TruthStore:
    """Renders truth once and keeps it in a folder. Final.

    Args:
        folder: for the pictures; made if absent.
        info: of the capture whose light stage renders.
        make_stage: from a capture's description; a module-level function, for the processes.
        samples: paths per pixel.
        processes: that render; 0 renders in this one.
    """

    def __init__(
        self, folder: Path, info: CaptureInfo, make_stage: StageMaker, *, samples: int, processes: int = 2
    ) -> None:
        self._folder, self._info, self._make_stage = Path(folder), info, make_stage
        self._samples, self._processes = samples, processes
        stage = {"synthetic": info.synthetic, "samples": samples, "renderer": _renderer_version()}
        self._stage_key = json.dumps(stage, sort_keys=True)

    def path(self, request: TruthRequest) -> Path:
        """Where the picture lies once it is made."""
        content = json.dumps(request.content(), sort_keys=True)
        return self._folder / f"{hashlib.sha256((self._stage_key + content).encode()).hexdigest()[:32]}.npz"

    def get(
        self, requests: Sequence[TruthRequest], progress: Callable[[int, int], object] | None = None
    ) -> list[RenderedImage]:
        """The pictures in order; those that are not held are rendered and kept.

        Args:
            requests: what to render.
            progress: called with (pictures there, pictures in all).
        """
        missing = [request for request in requests if not self.path(request).exists()]
        # A subject's pictures in a row: the stage builds each subject's materials once.
        missing.sort(key=lambda request: request.subject)
        done = len(requests) - len(missing)
        if progress is not None:
            progress(done, len(requests))
        for _ in self._render(missing):
            done += 1
            if progress is not None:
                progress(done, len(requests))
        return [_read(self.path(request)) for request in requests]

    def _render(self, requests: Sequence[TruthRequest]) -> Iterator[None]:
        jobs = [(request, self.path(request), self._samples) for request in requests]
        if self._processes < 1 or len(jobs) < 2:
            stage = self._make_stage(self._info) if jobs else None
            for job in jobs:
                yield _render_to(stage, *job)
            return
        with self._pool() as pool:
            futures = [pool.submit(_render_in_worker, *job) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool as error:
                raise VrmmError(
                    "a rendering process was killed (out of memory?); run the same command again to continue"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)

    def _pool(self) -> Executor:
        return ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._make_stage, self._info),
        )


_stage: TruthStage | None = None
"""The light stage of a rendering process."""


def _start_worker(make_stage: StageMaker, info: CaptureInfo) -> None:
    global _stage
    from datasets.lightstage.mitsuba_scene import set_threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    set_threads(1)  # the processes share the cores
    _stage = make_stage(info)


def _exit_with_parent() -> None:
    """A worker whose parent was killed would wait for its next picture for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _render_in_worker(request: TruthRequest, path: Path, samples: int) -> None:
    _render_to(_stage, request, path, samples)


def _render_to(stage: TruthStage | None, request: TruthRequest, path: Path, samples: int) -> None:
    assert stage is not None
    picture = stage.render_truth(
        request.subject,
        np.array(request.expression),
        request.light,
        request.camera,
        request.pose,
        samples,
    )
    arrays = {"image": np.asarray(picture.image, np.float32), "mask": np.asarray(picture.mask, np.float32)}
    atomic_write(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]


def _read(path: Path) -> RenderedImage:
    with np.load(path) as arrays:
        return RenderedImage(image=arrays["image"], mask=arrays["mask"])


def _renderer_version() -> str:
    """A hash of the light stage's source: other code may render another picture of the same request."""
    digest = hashlib.sha256()
    for path in sorted(RENDERER.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
