"""A public capture straight to shards: read in parallel processes, written shard by shard, continued after a kill."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from datasets.capture import Capture, CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.manifest import Manifest
from datasets.readers.reader import Selection
from datasets.readers.registry import find_captures, open_reader
from datasets.resized import ResizedCapture
from datasets.shard_build import build_shards
from datasets.worker_process import serve_parent, usable_cores

Report = Callable[[int, int], object]
"""Called as ``report(frames done, frames in all)``."""

_AHEAD = 2  # frames read ahead beyond one for each process


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What to import.

    Attributes:
        format: a name of ``datasets.readers.registry.READERS``.
        source: a capture, or a folder of captures of several people.
        subjects: the people wanted; empty for all.
        selection: cameras and frames wanted.
        overrides: ``key=value`` settings of the reader.
        height: of the stored pictures, pixels; 0 keeps them, in their original bytes where that is possible.
        held_out_cameras: names of cameras that no training may use.
        held_out_subjects: names of people that no training may use.
    """

    format: str
    source: Path
    subjects: tuple[str, ...] = ()
    selection: Selection = dataclasses.field(default_factory=Selection)
    overrides: tuple[str, ...] = ()
    height: int = 0
    held_out_cameras: tuple[str, ...] = ()
    held_out_subjects: tuple[str, ...] = ()


def import_captures(
    request: ImportRequest,
    out: Path | str,
    *,
    samples_per_shard: int = 64,
    processes: int | None = None,
    report: Report | None = None,
) -> dict[Path, Manifest]:
    """Write the shards of every requested capture.

    A ``source`` that is one capture gives shards in ``out``; one that holds several gives a folder of ``out`` for
    each, because their cameras were calibrated apart (``vrmm shards merge`` makes one training set of them). The
    bytes depend on the source and the request alone, not on the number of processes or on interruptions: a second
    call keeps finished shards. Memory: the members of as many frames as there are processes, and two.

    Args:
        request: what to import.
        out: a new folder, or one that holds a part of the same import.
        samples_per_shard: frames in a tar.
        processes: readers; None for one a core, 0 to read here.
        report: hears of the progress.

    Returns:
        Folder of shards → its manifest.

    Raises:
        VrmmError: nothing to import, a damaged source, a reader that died, or what ``build_shards`` refuses.
    """
    out, source = Path(out), Path(request.source)
    places = find_captures(request.format, source, request.subjects)
    _check_known("subject", request.held_out_subjects, places, source)
    parts = [_Part(request=request, place=place) for place in places.values()]
    counts = [_count(part) for part in parts]  # everything is opened before anything is written
    alone = list(places.values()) == [source]
    folders = [out if alone else out / subject for subject in places]
    count, done, manifests = usable_cores() if processes is None else processes, 0, {}
    for part, folder, frames in zip(parts, folders, counts, strict=True):
        before = done

        def tell(written: int, _: int, before: int = before) -> None:
            if report is not None:
                report(before + written, sum(counts))

        with _read_ahead(part, min(count, frames)) as capture:
            manifests[folder] = build_shards(capture, folder, samples_per_shard=samples_per_shard, progress=tell)
        done += frames
    return manifests


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """One capture of a request; picklable, so that every process can open it."""

    request: ImportRequest
    place: Path

    def open(self) -> Capture:
        request = self.request
        reader = open_reader(request.format, self.place, request.selection, request.overrides)
        info = reader.info
        _check_known("camera", request.held_out_cameras, [camera.name for camera in info.cameras], self.place)
        capture: Capture = _Split(reader, request)
        return ResizedCapture(capture, request.height) if request.height else capture


class _Split(Capture):
    """A capture of which some cameras and people are held out."""

    def __init__(self, capture: Capture, request: ImportRequest) -> None:
        self._capture = capture
        info, cameras, people = capture.info, request.held_out_cameras, request.held_out_subjects
        self._info = dataclasses.replace(
            info,
            cameras=tuple(dataclasses.replace(c, split="held_out") if c.name in cameras else c for c in info.cameras),
            subject_splits={s: "held_out" if s in people else split for s, split in info.subject_splits.items()},
        )

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return self._capture.frames()

    def members(self, frame: Frame) -> dict[str, bytes]:
        return self._capture.members(frame)


class _ReadAhead(Capture):
    """A capture whose frames are read by a pool of processes before they are asked for, in order."""

    def __init__(self, capture: Capture, pool: ProcessPoolExecutor, window: int) -> None:
        self._capture, self._pool, self._window = capture, pool, window
        self._places = {frame.key: place for place, frame in enumerate(capture.frames())}
        self._pending: dict[int, Future[dict[str, bytes]]] = {}

    @property
    def info(self) -> CaptureInfo:
        return self._capture.info

    def frames(self) -> Sequence[Frame]:
        return self._capture.frames()

    def members(self, frame: Frame) -> dict[str, bytes]:
        frames, place = self._capture.frames(), self._places[frame.key]
        for passed in [number for number in self._pending if number < place]:
            self._pending.pop(passed).cancel()
        for number in range(place, min(place + self._window, len(frames))):
            if number not in self._pending:
                self._pending[number] = self._pool.submit(_members_in_worker, frames[number])
        try:
            return self._pending.pop(place).result()
        except BrokenProcessPool as error:
            raise VrmmError(
                "a reading process died (out of memory?); run the same command again to continue, with fewer "
                "--processes if it happens again"
            ) from error


@contextmanager
def _read_ahead(part: _Part, processes: int) -> Iterator[Capture]:
    if processes < 1:
        yield part.open()
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_open_in_worker, initargs=(part,))
    try:
        yield _ReadAhead(part.open(), pool, processes + _AHEAD)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_capture: Capture | None = None  # of a worker process


def _open_in_worker(part: _Part) -> None:
    import cv2

    global _capture
    serve_parent()
    cv2.setNumThreads(1)  # frames are read in parallel already
    _capture = part.open()


def _members_in_worker(frame: Frame) -> dict[str, bytes]:
    assert _capture is not None
    return _capture.members(frame)


def _count(part: _Part) -> int:
    frames = len(part.open().frames())
    if not frames:
        raise VrmmError(f"no frame of {part.place} is left to import; choose others with --frames")
    return frames


def _check_known(what: str, wanted: Sequence[str], known: Sequence[str] | dict[str, Path], source: Path) -> None:
    for name in wanted:
        if name not in known:
            raise VrmmError(f"{source} has no {what} {name} to hold out; it has {', '.join(known)}")
