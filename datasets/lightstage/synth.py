"""Render a whole synthetic capture to a folder, over processes, resumable."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datasets.capture import CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.folder import CAPTURE, FolderCapture, read_capture_info, write_capture_info, write_frame
from datasets.lightstage.frame_files import frame_files
from datasets.lightstage.stage import LightStage, StageConfig
from datasets.lightstage.workers import Render, render_in_processes
from datasets.worker_process import usable_cores

Report = Callable[[int, int], object]
"""Called as ``report(frames done, frames in all)``."""


def synthesize(
    config: StageConfig, out: Path | str, *, processes: int | None = None, report: Report | None = None
) -> FolderCapture:
    """Write the capture of ``config`` to the folder ``out``; frames that are complete are kept.

    The files are a pure function of the config, whatever the number of processes and however often the work was
    interrupted.

    Args:
        config: what to render.
        out: a folder that is new, or holds a part of the same capture.
        processes: worker processes, each with one rendering thread; None for one a core, 0 to render here.
        report: hears of the progress.

    Raises:
        VrmmError: ``out`` holds another capture, the disk is full, or the head model is missing.
    """
    out = Path(out)
    stage = LightStage(config)
    _claim(out, stage.info)
    splits = stage.info.subject_splits
    # the cleaner and slower frames of held-out people first, so that at the end no process waits for another
    people = sorted(stage.info.subjects, key=lambda subject: splits[subject] == "train")
    frames = [frame for subject in people for frame in stage.frames(subject)]
    capture = FolderCapture(out)
    missing = [frame for frame in frames if not capture.has_frame(frame.key)]
    done = len(frames) - len(missing)
    if report is not None:
        report(done, len(frames))
    for _ in _render(stage, missing, out, usable_cores() if processes is None else processes):
        done += 1
        if report is not None:
            report(done, len(frames))
    return FolderCapture(out)


def _render(stage: LightStage, frames: Sequence[Frame], out: Path, processes: int) -> Iterator[str]:
    """Keys of frames as they are done."""
    if processes > 0 and len(frames) > 1:
        make_render = functools.partial(_make_render, stage.config, out)
        yield from render_in_processes(make_render, frames, min(processes, len(frames)))
        return
    for frame in frames:
        _render_to(stage, out, frame)
        yield frame.key


def _make_render(config: StageConfig, out: Path) -> Render:
    return functools.partial(_render_to, LightStage(config, threads=1), out)


def _render_to(stage: LightStage, out: Path, frame: Frame) -> None:
    write_frame(out, frame, frame_files(stage, frame))


def _claim(out: Path, info: CaptureInfo) -> None:
    """Write ``capture.json``, or check that the one that is there is of the same capture."""
    if not (out / CAPTURE).exists():
        if out.is_dir() and any(out.iterdir()):
            raise VrmmError(f"{out} is not empty and holds no capture; choose a new folder for the capture")
        write_capture_info(out, info)
        return
    if read_capture_info(out).synthetic != info.synthetic:
        raise VrmmError(f"{out} holds a capture of another recipe; choose a new folder, or delete it to start again")
