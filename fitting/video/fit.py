"""``fit_video``: a video to an avatar bundle with its animation; every stage is kept until the bundle is whole."""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from datasets.config import to_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from fitting.avatar import Avatar, check_target
from fitting.camerafile import PhotoCamera, read_camera_file
from fitting.diagnostics import drift, input_metrics, judge, light_estimate
from fitting.fit import Prior, finished_avatar, thinned
from fitting.inversion import Inversion, Progress, invert
from fitting.landmarks import LandmarkSource
from fitting.recipe import FitRecipe, LightFrame
from fitting.rendering import render_solution
from fitting.resume import load_inversion, save_inversion, working_folder
from fitting.state import Solution
from fitting.video.faces import find_faces
from fitting.video.finetune import FinetunedVideo, finetune_video
from fitting.video.frames import KeptFrames, keep_frames
from fitting.video.joint import fit_jointly
from fitting.video.lens import find_lens
from fitting.video.source import FrameSource, open_video
from fitting.video.state import VideoState
from fitting.video.track import Tracker
from fitting.views import MAX_PHOTOS
from prior.metrics import mean_metrics
from prior.preview import spread
from prior.runfolder import RunLock, library_versions
from prior.vrmm import VRMM

STAGE_SHARES = {"reading": 0.1, "first frame": 0.1, "tracking": 0.4, "joint fit": 0.2, "fine-tuning": 0.2}
"""The stages that ``progress`` hears of, and their shares of the time, roughly."""
STAGES = tuple(STAGE_SHARES)
KEY, SECONDS = "video.json", "seconds.json"
MEASURED = 48
"""Frames, spread over the video, that the numbers of fit.json are of."""

_T = TypeVar("_T")


def fit_video(
    path: Path,
    prior: Path | Prior,
    recipe: FitRecipe,
    out: Path,
    *,
    cameras: Path | None = None,
    landmarks: LandmarkSource | None = None,
    face: int | None = None,
    tracked_in: Path | None = None,
    progress: Progress | None = None,
) -> Avatar:
    """A video of one person to an avatar bundle in ``out``, whose ``animation`` is the person's motion.

    The camera stands still in the world's origin (``fitting.video.frames``). An interrupted fit leaves no bundle;
    the same call again goes on where it was, and ends with the same bundle. Where that is there already, it is read
    and returned.

    Args:
        path: a video file, or a folder of pictures in order.
        prior: run folder of a trained prior, or one that is read already.
        recipe: of the fit.
        out: folder of the avatar.
        cameras: a camera file with the video's lens under its name; without one the focal length is found from the
            landmarks.
        landmarks: where landmarks come from; files beside the video or the pictures by default, and
            what the prior's initializer finds where there is none.
        face: number, from the left, of the face to fit where the first frame shows several.
        tracked_in: folder in which everything before the fine-tuning is kept, for fits of the same video with other
            fine-tunings (of another video it is emptied); None keeps it only until the avatar is whole.
        progress: called as ``progress(stage, done, total, loss)`` with the stages of ``STAGES``.

    Raises:
        VrmmError: no video that can be read, no face, a bad prior or camera, or an ``out`` that holds something else.
    """
    out, path = Path(out), Path(path)
    check_target(out)
    source = open_video(path, recipe.video)
    camera = None if cameras is None else _known_lens(cameras, path)
    prior = prior if isinstance(prior, Prior) else Prior.load(prior)
    landmarks = landmarks or prior.landmarks
    given = [
        prior.fingerprint,
        source.fingerprint(),
        landmarks.fingerprint,
        face,
        None if camera is None else camera.to_json(),
    ]
    key = _digest([*given, _parts(recipe, tracking=False)])
    done = finished_avatar(out, key, prior)
    if done is not None:
        return done
    torch.set_num_threads(recipe.threads)
    work = tracked_in or working_folder(out)
    with RunLock(work):
        _keep_only(work, _digest([*given, _parts(recipe, tracking=True)]))
        fitting = _VideoFit(source, prior, recipe, work, progress or (lambda stage, done, total, loss: None))
        avatar = fitting.run(landmarks, face, camera, key)
        avatar.save(out)
        if tracked_in is None:
            shutil.rmtree(work, ignore_errors=True)
    return avatar


def video_share(stage: str, done: int, total: int) -> float:
    """How much of a video's fit is done, in [0, 1], from what ``progress`` hears."""
    before = sum(STAGE_SHARES[name] for name in STAGES[: STAGES.index(stage)])
    return before + STAGE_SHARES[stage] * done / max(total, 1)


class _VideoFit:
    """The stages, each of which takes up what an earlier call has left in the working folder."""

    def __init__(self, source: FrameSource, prior: Prior, recipe: FitRecipe, work: Path, progress: Progress) -> None:
        self._source, self._prior, self._recipe, self._work = source, prior, recipe, work
        self._progress, self._clock = progress, _Clock(work)

    def run(self, landmarks: LandmarkSource, face: int | None, camera: PhotoCamera | None, key: str) -> Avatar:
        prior, recipe, clock = self._prior, self._recipe, self._clock
        frames = clock.time("reading", lambda: self._read(landmarks, face, camera))
        first = clock.time("first_frame", lambda: self._first(frames))
        state, losses = self._all(frames, first)
        inverted = state.copy()
        tuned = clock.time(
            "finetuning",
            lambda: finetune_video(
                prior.model, prior.rendering, prior.bank, frames, state, recipe, self._report("fine-tuning")
            ),
        )
        rows = sorted({0, *spread(len(frames), MAX_PHOTOS - 1)})
        views = frames.views(rows)
        report = self._summary(frames, inverted, tuned, [*first.losses, *losses])
        clock.forget("finetuning")  # where this folder serves another fine-tuning, that has its own time
        return Avatar(
            model=tuned.model,
            rendering=prior.rendering,
            solution=tuned.state.solution(tuned.model, views, rows),
            inversion=inverted.solution(prior.model, views, rows),
            description=self._description(frames, rows, key),
            report=report,
            animation=tuned.state.curve(self._source.fps),
        )

    def _read(self, landmarks: LandmarkSource, face: int | None, camera: PhotoCamera | None) -> KeptFrames:
        """Faces and pictures of all frames: two passes over the video."""
        source, prior = self._source, self._prior
        total = 2 * source.expected
        points = find_faces(
            source, landmarks, face, self._work, lambda done: self._progress("reading", min(done, total), total, 0.0)
        )
        if camera is None:
            height, width = next(iter(source.frames(0))).picture.rgb.shape[:2]
            template = prior.model.template_landmarks.numpy().astype("float64")
            camera = find_lens(points, template, width, height, str(source.path))
        count = len(points)
        return keep_frames(
            source,
            points,
            camera,
            prior.model,
            prior.rendering,
            self._recipe.image_size,
            self._work,
            lambda done: self._progress("reading", count + done, 2 * count, 0.0),
        )

    def _first(self, frames: KeptFrames) -> Inversion:
        """Eq. 14 for the first frame."""
        prior, key = self._prior, "first frame"
        kept = load_inversion(self._work, key)
        if kept is not None:
            return kept[0]
        report = self._report("first frame")
        inversion = invert(
            prior.model,
            prior.rendering,
            frames.views([0]),
            self._recipe,
            prior.bank,
            lambda stage, done, total, loss: report(done, total, loss),
            prior.initializer,
        )
        save_inversion(self._work, inversion, key, 0.0)
        return inversion

    def _all(self, frames: KeptFrames, first: Inversion) -> tuple[VideoState, list[float]]:
        """Every frame from the one before, then all together."""
        prior, recipe, report = self._prior, self._recipe, self._report("tracking")
        start = first.solution
        if recipe.video.light is LightFrame.room:
            start = dataclasses.replace(start, light_rotation=start.rotation[0].clone())
        tracker = Tracker(prior.model, prior.rendering, prior.bank, recipe, start)
        track, _ = self._clock.time(
            "tracking",
            lambda: tracker.follow(frames, self._work, lambda done, loss: report(done, len(frames), loss)),
        )
        state = VideoState.of(prior.model, frames.views([0]), start, track)
        losses = self._clock.time(
            "joint",
            lambda: fit_jointly(
                prior.model, prior.rendering, prior.bank, frames, state, recipe, self._work, self._report("joint fit")
            ),
        )
        return state, losses

    def _report(self, stage: str) -> Callable[[int, int, float], object]:
        return lambda done, total, loss: self._progress(stage, done, total, loss)

    def _description(self, frames: KeptFrames, rows: Sequence[int], key: str) -> dict[str, Any]:
        prior = self._prior
        return {
            "key": key,
            "inversion_key": key,
            "prior": {"sha256": prior.sha256, "subjects": len(prior.model.subjects)},
            "initializer": None if prior.initializer is None else prior.initializer.sha256,
            "photos": [frames.names[row] for row in rows],
            "video": {"name": self._source.path.name, "frames": len(frames), "fps": self._source.fps},
            "placed": False,
            "crops": frames.views(rows).crops.tolist(),
            "recipe": to_dict(self._recipe),
            "libraries": library_versions(),
        }

    def _summary(
        self, frames: KeptFrames, inverted: VideoState, tuned: FinetunedVideo, losses: list[float]
    ) -> dict[str, Any]:
        prior, recipe = self._prior, self._recipe
        before = self._metrics(frames, prior.model, inverted)
        after = self._metrics(frames, tuned.model, tuned.state)
        first: Solution = tuned.state.solution(tuned.model, frames.views([0]), [0])
        reasons, seconds = judge(after), self._clock.seconds
        found = seconds["first_frame"] + seconds["tracking"] + seconds["joint"]
        return {
            "seconds": {**seconds, "inversion": found},
            "sound": not reasons,
            "reasons": reasons,
            "input": {"inversion": before, "finetuned": after},
            "losses": {
                "inversion": thinned(losses),
                "finetuning": thinned(tuned.losses),
                "locality": thinned(tuned.locality),
            },
            "diagnostics": drift(prior.model, tuned.model, first, prior.rendering, prior.bank, recipe.seed),
            "light": light_estimate(prior.model, first.light),
            "focal": frames.views(spread(len(frames), MAX_PHOTOS)).cameras.intrinsics[:, 0, 0].tolist(),
        }

    @torch.no_grad()
    def _metrics(self, frames: KeptFrames, model: VRMM, state: VideoState) -> dict[str, float]:
        rows = []
        for row in spread(len(frames), MEASURED):
            views = frames.views([row])
            solution = state.solution(model, views, [row])
            rows.append(input_metrics(render_solution(model, solution, self._prior.rendering), views))
        return mean_metrics(rows)


class _Clock:
    """Seconds of each stage over all calls that it took. Final."""

    def __init__(self, work: Path) -> None:
        self._path = work / SECONDS
        self.seconds: dict[str, float] = read_json(self._path, "times") if self._path.is_file() else {}

    def time(self, stage: str, work: Callable[[], _T]) -> _T:
        """Run ``work`` and add what it took, even where it is interrupted by an error."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
            atomic_write_json(self._path, self.seconds)

    def forget(self, stage: str) -> None:
        """Begin again with a stage."""
        self.seconds.pop(stage, None)
        atomic_write_json(self._path, self.seconds)


def _known_lens(cameras: Path, path: Path) -> PhotoCamera:
    known = read_camera_file(cameras)
    if path.name not in known:
        raise VrmmError(f"{cameras} has no camera for {path.name}; add it, or fit without a camera file")
    return dataclasses.replace(known[path.name], world_to_camera=None)


def _parts(recipe: FitRecipe, *, tracking: bool) -> dict[str, Any]:
    """The recipe as far as the avatar depends on it, or the stages before the fine-tuning."""
    left_out = {"threads", "expressions"} | ({"finetune"} if tracking else set())
    return {name: value for name, value in to_dict(recipe).items() if name not in left_out}


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _keep_only(work: Path, key: str) -> None:
    """Empty the working folder unless it is of this very fit."""
    path = work / KEY
    if path.is_file() and read_json(path, "a video's key").get("key") == key:
        return
    for other in work.iterdir():
        if other.name != ".lock":
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    atomic_write_json(path, {"key": key})
