"""Render a whole synthetic capture to a folder, over processes, resumable."""

import concurrent.futures
import io
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datasets.capture import CaptureInfo, Frame, Pose
from datasets.errors import VrmmError
from datasets.folder import CAPTURE, FolderCapture, read_capture_info, write_capture_info, write_frame
from datasets.images import encode_mask, encode_radiance
from datasets.lightstage.stage import LightStage, StageConfig

LANDMARKS = "lmk.npz"

_stage: LightStage | None = None  # of a worker process


def synthesize(
    config: StageConfig,
    out: Path | str,
    *,
    processes: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> FolderCapture:
    """Write the capture of ``config`` to the folder ``out``; frames that are complete are kept.

    The files are a pure function of the config, whatever the number of processes and however often the work was
    interrupted.

    Args:
        config: what to render.
        out: a folder that is new, or holds a part of the same capture.
        processes: worker processes, each with one rendering thread; None for one a core, 0 to render here.
        report: called as ``report(frames done, frames in all)``.

    Raises:
        VrmmError: ``out`` holds another capture, the disk is full, or the head model is missing.
    """
    out = Path(out)
    stage = LightStage(config)
    _claim(out, stage.info)
    capture = FolderCapture(out)
    frames = [frame for subject in stage.info.subjects for frame in stage.frames(subject)]
    missing = [frame for frame in frames if not capture.has_frame(frame.key)]
    done = len(frames) - len(missing)
    report(done, len(frames))
    count = min(_usable_cores() if processes is None else processes, len(missing))
    renders = _render_here(stage, missing, out) if count == 0 else _render_in_processes(config, missing, out, count)
    for _ in renders:
        done += 1
        report(done, len(frames))
    return FolderCapture(out)


def frame_files(stage: LightStage, frame: Frame) -> dict[str, bytes]:
    """The frame's pictures, masks and landmarks as files by extension; see ``Capture.members``.

    ``lmk.npz`` holds ``cameras`` [C] names, ``points`` [C, 68, 2] pixels, ``visible`` [C, 68] (nothing is in
    front of the point and it is inside the picture) and ``world`` [68, 3] metres.
    """
    files = {}
    for camera in stage.info.cameras:
        picture = stage.render_frame(frame, camera)
        files[f"{camera.name}.rgb.png"] = encode_radiance(picture.image.transpose(1, 2, 0), stage.info.encoding)
        files[f"{camera.name}.mask.png"] = encode_mask(picture.mask[0])
    files[LANDMARKS] = _landmarks(stage, frame)
    return files


def _landmarks(stage: LightStage, frame: Frame) -> bytes:
    pose = frame.pose or Pose.identity()
    local = stage.model.landmarks(stage.subject(frame.subject).identity, np.array(frame.expression))
    world = local @ pose.rotation.T + pose.translation
    cameras = stage.info.cameras
    data = io.BytesIO()
    np.savez(
        data,
        cameras=np.array([camera.name for camera in cameras]),
        points=np.stack([camera.project(world) for camera in cameras]).astype(np.float32),
        visible=np.stack([stage.renderer.visible(world, camera) for camera in cameras]),
        world=world.astype(np.float32),
    )
    return data.getvalue()


def _claim(out: Path, info: CaptureInfo) -> None:
    """Write ``capture.json``, or check that the one that is there is of the same capture."""
    if not (out / CAPTURE).exists():
        if out.is_dir() and any(out.iterdir()):
            raise VrmmError(f"{out} is not empty and holds no capture; choose a new folder for the capture")
        write_capture_info(out, info)
        return
    if read_capture_info(out).synthetic != info.synthetic:
        raise VrmmError(f"{out} holds a capture of another recipe; choose a new folder, or delete it to start again")


def _render_here(stage: LightStage, frames: list[Frame], out: Path):
    for frame in frames:
        write_frame(out, frame, frame_files(stage, frame))
        yield frame.key


def _render_in_processes(config: StageConfig, frames: list[Frame], out: Path, count: int):
    """Keys of frames as they are done. Leaving early (ctrl-C, an error) stops the workers."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        count, mp_context=context, initializer=_start_worker, initargs=(config,)
    ) as pool:
        futures = [pool.submit(_render_one, frame, str(out)) for frame in frames]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise VrmmError(
                "a rendering process was killed (out of memory?); run the same command again to continue, "
                "with fewer processes if it happens again"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(config: StageConfig) -> None:
    global _stage
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    _stage = LightStage(config, threads=1)


def _render_one(frame: Frame, out: str) -> str:
    assert _stage is not None
    write_frame(Path(out), frame, frame_files(_stage, frame))
    return frame.key


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
