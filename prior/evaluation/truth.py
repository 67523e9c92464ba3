"""Clean renderings to compare with: made in several processes, kept on disk under a key of their content."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, CaptureInfo, Light, Pose
from datasets.files import atomic_write
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.head import Subject
from datasets.lightstage.patterns import Pattern
from datasets.lightstage.render import RenderedImage
from datasets.lightstage.workers import render_in_processes

RENDERER = Path(__file__).parents[2] / "datasets" / "lightstage"


@runtime_checkable
class TruthStage(Protocol):
    """A light stage that can render any of its subjects; ``datasets.lightstage.stage.LightStage`` is one."""

    @property
    def subjects(self) -> Sequence[Subject]:
        """Everyone in the capture."""
        ...

    def held_out_lights(self, count: int) -> Sequence[Pattern]:
        """Groups of lamps that no training frame uses."""
        ...

    def held_out_lamps(self) -> Sequence[Pattern]:
        """Single lamps that burn alone in no training frame."""
        ...

    def exposed(self, environment: EnvironmentMap) -> EnvironmentMap:
        """The map as bright as the capture's lamps."""
        ...

    def movement(self, expression: Float[np.ndarray, "E"]) -> float:
        """How far an expression moves the features of a face, metres."""
        ...

    def surface(self, subject: str, expression: Float[np.ndarray, "E"]) -> Float[np.ndarray, "V 3"]:
        """True vertices of a subject's head, the same ones for any expression, head frame, metres."""
        ...

    def truth_image(
        self,
        subject: str,
        expression: Float[np.ndarray, "E"],
        light: Light | EnvironmentMap,
        camera: Camera,
        pose: Pose,
        samples: int,
        other: str = "",
    ) -> Any:
        """A picture with ``image`` [3, H, W] linear radiance and ``mask`` [1, H, W].

        With ``other``, the name of a second subject, it shows the person half-way between the two.
        """
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
        other: name of a second subject if the picture is of the person half-way between the two, else empty.
    """

    subject: str
    expression: tuple[float, ...]
    light: Light | EnvironmentMap
    camera: Camera
    pose: Pose
    other: str = ""

    @property
    def key(self) -> str:
        """Everything the picture depends on but the light stage itself, as JSON."""
        content = {
            "people": sorted((self.subject, self.other)),
            "expression": [float(value) for value in self.expression],
            "light": {
                name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
                for name, value in vars(self.light).items()
            },
            "camera": {**self.camera.to_json(), "name": "", "split": ""},
            "rotation": self.pose.rotation.tolist(),
            "translation": self.pose.translation.tolist(),
        }
        return json.dumps(content, sort_keys=True)


class TruthStore:
    """Renders truth once and keeps it in a folder. Final.

    Args:
        folder: for the pictures; made if absent.
        info: of the capture whose light stage renders.
        make_stage: from a capture's description; picklable, for the processes.
        samples: paths per pixel; 0 leaves it to the stage.
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
        return self._folder / f"{hashlib.sha256((self._stage_key + request.key).encode()).hexdigest()[:32]}.npz"

    def get(
        self, requests: Sequence[TruthRequest], progress: Callable[[int, int], object] | None = None
    ) -> list[RenderedImage]:
        """The pictures in order; those that are not held are rendered and kept.

        Args:
            requests: what to render; what is asked for twice is rendered once.
            progress: called with (pictures there, pictures in all).

        Raises:
            VrmmError: a rendering process died, or the disk is full.
        """
        jobs = [_Job(request, self.path(request)) for request in requests]
        wanted = {job.key: job for job in jobs}
        missing = [job for job in wanted.values() if not job.path.exists()]
        done = len(wanted) - len(missing)
        report = progress or (lambda done, total: None)
        report(done, len(wanted))
        for _ in self._render(missing):
            done += 1
            report(done, len(wanted))
        return [_read(job.path) for job in jobs]

    def _render(self, jobs: Sequence["_Job"]) -> Iterator[str]:
        if self._processes and len(jobs) > 1:
            make_render = functools.partial(_make_worker, self._make_stage, self._info, self._samples)
            yield from render_in_processes(make_render, jobs, min(self._processes, len(jobs)))
        elif jobs:
            render = _make_render(self._make_stage, self._info, self._samples)
            # A person's pictures in a row: the stage makes each person's materials once.
            for job in sorted(jobs, key=lambda job: job.subject):
                render(job)
                yield job.key


@dataclasses.dataclass(frozen=True)
class _Job:
    """A picture to render, and where it goes."""

    request: TruthRequest
    path: Path

    @property
    def subject(self) -> str:
        """Who is seen: pictures of one person are made by one process, which has the person's materials."""
        return f"{self.request.subject} {self.request.other}"

    @property
    def key(self) -> str:
        return self.path.stem


def _make_worker(make_stage: StageMaker, info: CaptureInfo, samples: int) -> Callable[[_Job], None]:
    from datasets.lightstage.mitsuba_scene import set_threads

    set_threads(1)  # the processes share the cores
    return _make_render(make_stage, info, samples)


def _make_render(make_stage: StageMaker, info: CaptureInfo, samples: int) -> Callable[[_Job], None]:
    return functools.partial(_render_to, make_stage(info), samples)


def _render_to(stage: TruthStage, samples: int, job: _Job) -> None:
    request = job.request
    picture = stage.truth_image(
        request.subject,
        np.array(request.expression),
        request.light,
        request.camera,
        request.pose,
        samples,
        other=request.other,
    )
    arrays = {"image": np.asarray(picture.image, np.float32), "mask": np.asarray(picture.mask, np.float32)}
    atomic_write(job.path, lambda file: np.savez(file, image=arrays["image"], mask=arrays["mask"]))


def _read(path: Path) -> RenderedImage:
    with np.load(path) as arrays:
        return RenderedImage(image=arrays["image"], mask=arrays["mask"])


def _renderer_version() -> str:
    """A hash of the light stage's source: other code may render another picture of the same request."""
    digest = hashlib.sha256()
    for path in sorted(RENDERER.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
