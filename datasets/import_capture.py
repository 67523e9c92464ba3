"""A public capture straight to shards: read in parallel processes, written shard by shard, continued after a kill."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path

from datasets.capture import Capture, CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.folder import CAPTURE
from datasets.manifest import Manifest
from datasets.readers.reader import CaptureReader, Selection
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
        format: a name of ``datasets.readers.formats.READERS``.
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
    call keeps finished shards. Memory: the members of as many frames as there are processes, and two; of three
    frames where the pictures are in videos, of which each process then decodes some cameras.

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
    parts = [_Part(request=request, place=place) for place in places.values()]
    counts, people = zip(*[_survey(part) for part in parts], strict=True)  # before anything is written
    _check_known("subject", request.held_out_subjects, [name for names in people for name in names], source)
    alone = list(places.values()) == [source]
    folders = [out if alone else out / subject for subject in places]
    count, done, manifests = usable_cores() if processes is None else processes, 0, {}
    for part, folder, frames in zip(parts, folders, counts, strict=True):
        before = done

        def tell(written: int, _: int, before: int = before) -> None:
            if report is not None:
                report(before + written, sum(counts))

        with _unclaimed_on_failure(out, folder), _read_ahead(part, min(count, frames)) as capture:
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
        capture: Capture = _Split(self._reader(), request)
        return ResizedCapture(capture, request.height) if request.height else capture

    def filmed(self) -> bool:
        """As ``CaptureReader.filmed``."""
        return self._reader().filmed

    def shares(self, cameras: Sequence[str], count: int) -> "list[_Part]":
        """The part as at most ``count`` of some of its cameras each."""
        selections = [
            dataclasses.replace(self.request.selection, cameras=tuple(cameras[first::count]))
            for first in range(min(count, len(cameras)))
        ]
        return [
            dataclasses.replace(self, request=dataclasses.replace(self.request, selection=selection))
            for selection in selections
        ]

    def _reader(self) -> CaptureReader:
        request = self.request
        return open_reader(request.format, self.place, request.selection, request.overrides)


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
    """A capture whose frames are read by processes before they are asked for, in order.

    Args:
        capture: the whole of it.
        pools: each reads some of the cameras of every frame.
        window: frames that are read at once.
    """

    def __init__(self, capture: Capture, pools: Sequence[ProcessPoolExecutor], window: int) -> None:
        self._capture, self._pools, self._window = capture, pools, window
        self._places = {frame.key: place for place, frame in enumerate(capture.frames())}
        self._pending: dict[int, list[Future[dict[str, bytes]]]] = {}

    @property
    def info(self) -> CaptureInfo:
        return self._capture.info

    def frames(self) -> Sequence[Frame]:
        return self._capture.frames()

    def members(self, frame: Frame) -> dict[str, bytes]:
        frames, place = self._capture.frames(), self._places[frame.key]
        for passed in [number for number in self._pending if number < place]:
            for future in self._pending.pop(passed):
                future.cancel()
        for number in range(place, min(place + self._window, len(frames))):
            if number not in self._pending:
                self._pending[number] = [pool.submit(_members_in_worker, frames[number]) for pool in self._pools]
        try:
            parts = [future.result() for future in self._pending.pop(place)]
        except BrokenProcessPool as error:
            raise VrmmError(
                "a reading process died (out of memory?); run the same command again to continue, with fewer "
                "--processes if it happens again"
            ) from error
        members = {name: data for part in parts for name, data in part.items()}
        if not members:
            raise VrmmError(f"no camera filmed frame {frame.key}; leave it out with --frames")
        return members


@contextmanager
def _unclaimed_on_failure(out: Path, folder: Path) -> Iterator[None]:
    """A folder in which nothing was finished is left as it was, so that other settings may use it."""
    absent = [place for place in dict.fromkeys((folder, out)) if not place.exists()]
    claimed = (folder / CAPTURE).exists()
    try:
        yield
    except BaseException:
        if not claimed and not any(folder.glob("*.tar")):
            (folder / CAPTURE).unlink(missing_ok=True)
        for place in absent:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        raise


@contextmanager
def _read_ahead(part: _Part, processes: int) -> Iterator[Capture]:
    capture = part.open()
    if processes < 1:
        yield capture
        return
    context = multiprocessing.get_context("spawn")
    shares, workers = [part], processes
    if part.filmed():
        shares, workers = part.shares([camera.name for camera in capture.info.cameras], processes), 1
    with ExitStack() as stack:
        pools = []
        for share in shares:
            pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_open_in_worker, initargs=(share,))
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            pools.append(pool)
        yield _ReadAhead(capture, pools, workers + _AHEAD)


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


def _survey(part: _Part) -> tuple[int, tuple[str, ...]]:
    """How many frames a capture has, and its people."""
    capture = part.open()
    cameras, frames = [camera.name for camera in capture.info.cameras], len(capture.frames())
    _check_known("camera", part.request.held_out_cameras, cameras, part.place)
    if not frames:
        raise VrmmError(f"no frame of {part.place} is left to import; choose others with --frames")
    return frames, capture.info.subjects


def _check_known(what: str, wanted: Sequence[str], known: Sequence[str], source: Path) -> None:
    for name in wanted:
        if name not in known:
            raise VrmmError(f"{source} has no {what} {name} to hold out; it has {', '.join(known)}")
