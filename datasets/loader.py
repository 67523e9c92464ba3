"""Batches of frames for training: endless, in a fixed order, resumable at any step on any number of ranks."""

import concurrent.futures
import dataclasses
import enum
import itertools
import logging
from collections import deque
from collections.abc import Iterator

import numpy as np

from datasets.batch import FrameBatch
from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.order import SampleOrder, rank_part
from datasets.shards import DamageError, open_shards
from datasets.viewpoints import pick_cameras
from datasets.views import ViewReader, default_input_cameras, read_frame, training_subjects

__all__ = ["FrameLoader", "LoaderConfig", "OnError", "Split", "read_frame"]

_LOG = logging.getLogger(__name__)
_MAX_IN_A_ROW = 100  # damaged samples in a row after which the storage, not a sample, is broken


class Split(enum.Enum):
    """Which part of a capture takes part."""

    train = "train"
    held_out = "held_out"
    all = "all"

    def holds(self, name: str) -> bool:
        """A thing of that split takes part."""
        return self is Split.all or self.value == name


class OnError(enum.Enum):
    """What a damaged sample does: end the run, or be replaced, named and counted."""

    fail = "fail"
    skip = "skip"


@dataclasses.dataclass(kw_only=True)
class LoaderConfig:
    """Which frames and views a training step gets.

    Attributes:
        shards: folder written by ``vrmm shards build``.
        batch_frames: frames of a global batch, over all ranks.
        input_cameras: the encoders' views; empty takes three frontal training cameras.
        target_views: views to render per frame, other ones in each epoch.
        image_size: pixels of the longer image side; 0 leaves images as stored.
        workers: threads that read and decode, per rank; 0 reads in the training thread.
        prefetch: batches made ahead.
        cache_mb: megabytes of decoded images to keep, per rank.
        on_error: ``fail`` or ``skip``. Under ``skip`` a damaged sample's place is taken by the next readable sample
            of the epoch's order, whatever the number of ranks.
        seed: of the order and the target views.
        shuffle_shards: shards whose samples are shuffled together; more is more random, fewer reads fewer files.
        cameras: split of the cameras that may be targets.
        subjects: split of the subjects.
        frames: split of the frames.
    """

    shards: str = ""
    batch_frames: int = 4
    input_cameras: list[str] = dataclasses.field(default_factory=list)
    target_views: int = 2
    image_size: int = 0
    workers: int = 2
    prefetch: int = 2
    cache_mb: int = 256
    on_error: OnError = OnError.fail
    seed: int = 0
    shuffle_shards: int = 16
    cameras: Split = Split.train
    subjects: Split = Split.train
    frames: Split = Split.train

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_frames", 1),
            ("target_views", 1),
            ("shuffle_shards", 1),
            ("image_size", 0),
            ("workers", 0),
            ("prefetch", 0),
            ("cache_mb", 0),
        ):
            if getattr(self, name) < least:
                raise VrmmError(f"{name} is {getattr(self, name)}; it must be at least {least}")


class FrameLoader:
    """Deterministic batches of one rank. Final.

    The global order and the target views depend on the seed, the epoch and the sample alone, never on the number
    of ranks or workers.

    Args:
        config: what to load.
        rank, world_size: of this process.

    Attributes:
        shards: the open shards.
        subjects: names of the training subjects in the order of their numbers (of the chosen split if another).
        input_cameras: names of the encoders' views.
        frames: frames that take part; ``incomplete`` ones are left out because they lack a view.
        lost: key → reason of every sample skipped so far in batches handed out by this rank.
        replaced: how many places of those batches were filled by another sample.

    Raises:
        VrmmError: no shards, unknown cameras, too few cameras or frames, a batch that the ranks cannot share.
    """

    def __init__(self, config: LoaderConfig, rank: int = 0, world_size: int = 1) -> None:
        if not config.shards:
            raise VrmmError("no shards to load: set shards to a folder written by vrmm shards build")
        self.shards = open_shards(config.shards)
        self._config = config
        self._part = rank_part(config.batch_frames, rank, world_size)
        info = self.shards.info
        self.input_cameras = tuple(config.input_cameras) or default_input_cameras(info)
        targets = [camera.name for camera in info.cameras if config.cameras.holds(camera.split)]
        if len(targets) < config.target_views:
            raise VrmmError(f"target_views {config.target_views} exceeds the {len(targets)} cameras to choose from")
        self._reader = ViewReader(
            self.shards, [*self.input_cameras, *targets], image_size=config.image_size, cache_mb=config.cache_mb
        )
        self._inputs = self._reader.camera_numbers(self.input_cameras)
        self._targets = self._reader.camera_numbers(targets)
        self.subjects = _subjects(info, config.subjects)
        self._samples, self.incomplete = self._eligible()
        self.frames = len(self._samples)
        counts = np.bincount(self.shards.shard[self._samples], minlength=len(self.shards.samples_per_shard))
        self._order = SampleOrder(counts, batch=config.batch_frames, block=config.shuffle_shards, seed=config.seed)
        self.lost: dict[str, str] = {}
        self.replaced = 0

    @property
    def steps_per_epoch(self) -> int:
        return self._order.steps_per_epoch

    @property
    def dropped(self) -> int:
        """Frames left over at the end of each epoch because they do not fill a batch; others each time."""
        return self._order.dropped

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of all images, pixels."""
        return self._reader.height, self._reader.width

    def cameras_without_masks(self) -> list[str]:
        """Names of input and target cameras of which some frame has a picture and no mask."""
        info, used = self.shards.info, dict.fromkeys([*self._inputs, *self._targets])
        names = [info.cameras[number].name for number in used]
        layouts = np.unique(self.shards.layout[self._samples], return_index=True)[1]
        samples = self._samples[layouts].tolist()
        return [
            name
            for name in names
            if any(
                name in self.shards.images[self.shards.layout[sample]]
                and not self.shards.has(sample, f"{name}.mask.png")
                for sample in samples
            )
        ]

    def frames_of_unknown_light(self) -> list[str]:
        """Keys of the frames that take part and lie in shards in which nothing says how anything is lit."""
        return [self.shards.key(sample) for sample in self._samples[~self.shards.lit[self._samples]].tolist()]

    def epoch(self, step: int) -> int:
        """The epoch that a global step belongs to."""
        return self._order.position(step)[0]

    def keys(self, step: int) -> list[str]:
        """Sample keys of this rank's part of a step, were none damaged; reads nothing."""
        epoch, begin = self._order.position(step)
        places = self._order.slice(epoch, begin + self._part[0], begin + self._part[1])
        return [self.shards.key(sample) for sample in self._samples[places].tolist()]

    def batches(self, start_step: int = 0) -> Iterator[FrameBatch]:
        """This rank's part of every global batch from ``start_step`` on, without end.

        Raises:
            DamageError: when the damaged batch is due, under ``on_error=fail``, or where nothing can be read.
        """
        with _pool(self._config.workers) as pool:
            pending: deque[_Pending] = deque()
            ahead = self._config.prefetch if self._config.workers else 0
            try:
                for step in itertools.count(start_step):
                    pending.append(self._start(pool, step))
                    if len(pending) > ahead:
                        yield self._finish(pending.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, pool: concurrent.futures.Executor, step: int) -> "_Pending":
        first, stop = self._part
        epoch, begin = self._order.position(step)
        inputs, targets = len(self._inputs), self._config.target_views
        batch = self._reader.new_batch(stop - first, inputs=inputs, targets=targets)
        rows = [pool.submit(self._fill_row, batch, row, epoch, begin + first + row) for row in range(stop - first)]
        return _Pending(batch=batch, rows=rows)

    def _finish(self, pending: "_Pending") -> FrameBatch:
        for row in pending.rows:
            damages = row.result()
            self.replaced += bool(damages)
            for damage in damages:
                if damage.key not in self.lost:
                    _LOG.warning("skipped: %s", damage)
                self.lost[damage.key] = str(damage)
        return pending.batch

    def _fill_row(self, batch: FrameBatch, row: int, epoch: int, place: int) -> list[DamageError]:
        """Fill a row from a place of the epoch's order; returns the damages met on the way."""
        damages: list[DamageError] = []
        for attempt in range(min(self.frames, _MAX_IN_A_ROW)):
            number = (place + attempt) % self.frames
            sample = int(self._samples[self._order.slice(epoch, number, number + 1)[0]])
            try:
                self._reader.fill(batch, row, sample, self._inputs, self._pick(sample, epoch))
            except DamageError as damage:
                if self._config.on_error is OnError.fail:
                    raise
                damages.append(damage)
                continue
            batch.subject[row] = int(self._subject_number[self.shards.subject[sample]])
            return damages
        raise VrmmError(
            f"{len(damages)} samples in a row cannot be read, the last: {damages[-1]}; is the storage still there?"
        )

    def _pick(self, sample: int, epoch: int) -> list[int]:
        images, cameras = self.shards.images[self.shards.layout[sample]], self.shards.info.cameras
        available = [number for number in self._targets if cameras[number].name in images]
        key = self.shards.key(sample)
        return pick_cameras(available, self._config.target_views, seed=self._config.seed, epoch=epoch, key=key)

    def _eligible(self) -> tuple[np.ndarray, int]:
        """The samples of the chosen splits that have all views, and how many lack one."""
        info, config = self.shards.info, self._config
        numbers = [self.subjects.index(name) if name in self.subjects else -1 for name in info.subjects]
        self._subject_number = np.array(numbers, np.int64)
        frame_splits = np.array([config.frames.holds("train"), config.frames.holds("held_out")])
        chosen = (self._subject_number >= 0)[self.shards.subject] & frame_splits[self.shards.held_out.astype(int)]
        targets = [info.cameras[number].name for number in self._targets]
        complete = [
            images.keys() >= set(self.input_cameras) and sum(name in images for name in targets) >= config.target_views
            for images in self.shards.images
        ]
        usable = chosen & np.array(complete, bool)[self.shards.layout]
        return np.flatnonzero(usable), int(chosen.sum() - usable.sum())


@dataclasses.dataclass(kw_only=True)
class _Pending:
    batch: FrameBatch
    rows: list["concurrent.futures.Future[list[DamageError]]"]


class _InlineExecutor(concurrent.futures.Executor):
    """Runs everything at once in the calling thread."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[override]
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def _pool(workers: int) -> concurrent.futures.Executor:
    return concurrent.futures.ThreadPoolExecutor(workers, "frame-loader") if workers else _InlineExecutor()


def _subjects(info: CaptureInfo, split: Split) -> tuple[str, ...]:
    if split is Split.train:
        return training_subjects(info)
    return tuple(subject for subject in info.subjects if split.holds(info.subject_splits[subject]))
