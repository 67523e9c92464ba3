"""Batches of frames for training: endless, in a fixed order, resumable at any step on any number of ranks."""

import concurrent.futures
import dataclasses
import functools
import itertools
import logging
from collections import deque
from collections.abc import Generator, Mapping

import numpy as np

from datasets.augment import augment_row
from datasets.batch import FrameBatch
from datasets.capture import CaptureInfo
from datasets.disk_cache import DiskCache
from datasets.errors import VrmmError
from datasets.framing import CropBy
from datasets.labels import load_labels
from datasets.loader_config import LoaderConfig, Mode, OnError, Split
from datasets.order import EpochOrder, SampleOrder, rank_part
from datasets.reading_threads import reading_threads
from datasets.sampling import Balanced, Draws, EachOnce
from datasets.shards import DamageError, open_shards
from datasets.stream_order import StreamOrder
from datasets.streams import StreamReader
from datasets.viewpoints import pick_cameras
from datasets.views import ViewReader, default_input_cameras, inputs_of_parts, read_frame, training_subjects

__all__ = ["FrameLoader", "LoaderConfig", "Mode", "OnError", "Split", "read_frame"]

_LOG = logging.getLogger(__name__)


class FrameLoader:
    """Deterministic batches of one rank. Final.

    The global order, the target views and the augmentation depend on the recipe, the epoch and the sample alone, never
    on the number of ranks or workers.

    Args:
        config: what to load.
        rank, world_size: of this process.

    Attributes:
        shards: the open shards.
        subjects: names of the training subjects in the order of their numbers (of the chosen split if another).
        input_cameras: names of the encoders' views, of each rig those that stand in it.
        input_views: how many of them a frame has.
        frames: frames that take part; ``incomplete`` ones are left out because they lack a view.
        lost: key → reason of every sample skipped so far in batches handed out by this rank.
        replaced: how many places of those batches were filled by another sample.

    Raises:
        VrmmError: no shards, unknown cameras, too few cameras or frames, a batch that the ranks cannot share.
    """

    def __init__(self, config: LoaderConfig, rank: int = 0, world_size: int = 1) -> None:
        if not config.shards:
            raise VrmmError("no shards to load: set shards to a folder written by vrmm shards build")
        cache = DiskCache(config.disk_cache, config.disk_cache_mb * 10**6) if config.disk_cache else None
        self.shards = open_shards(config.shards, cache)
        self._config = config
        self._part = rank_part(config.batch_frames, rank, world_size)
        info = self.shards.info
        self.input_cameras = tuple(config.input_cameras) or default_input_cameras(info)
        targets = [camera.name for camera in info.cameras if config.cameras.holds(camera.split)]
        for part in info.parts:
            own = len(set(part.cameras.values()) & set(targets))
            if own < config.target_views:
                raise VrmmError(
                    f"target_views {config.target_views} exceeds the {own} cameras of {part.name}; lower it"
                )
        self._reader = ViewReader(
            self.shards,
            [*self.input_cameras, *(targets if config.crop.by is CropBy.none else [])],
            image_size=config.image_size,
            cache_mb=config.cache_mb,
            reduced_jpeg=config.reduced_jpeg,
            crop=config.crop,
        )
        views = inputs_of_parts(info, self.input_cameras)
        self.input_views = len(views[0])
        self._inputs = [self._reader.camera_numbers(names) for names in views]
        self._targets = self._reader.camera_numbers(targets)
        self.subjects = _subjects(info, config.subjects)
        self._samples, self.incomplete = self._eligible()
        self.frames = len(self._samples)
        self._draws = self._make_draws()
        self._order_of = functools.lru_cache(4)(self._make_order)
        self._order(0)  # raises where there are too few frames
        self._streams = self._open_streams(world_size) if config.mode is Mode.stream else None
        self.lost: dict[str, str] = {}
        self.replaced = 0

    @property
    def steps_per_epoch(self) -> int:
        return self._order(0).steps_per_epoch

    @property
    def dropped(self) -> int:
        """Frames left over at the end of each epoch because they do not fill a batch; others each time."""
        return self._order(0).dropped

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the encoders' images, and of those to render unless they are cropped; pixels."""
        return self._reader.height, self._reader.width

    @property
    def moves_targets(self) -> bool:
        """A camera's pictures to render show another part of its view in every frame."""
        return self._config.crop.by is not CropBy.none or self._config.augment.crop > 0.0

    def cameras_without_masks(self) -> list[str]:
        """Names of input and target cameras of which some frame has a picture and no mask."""
        targets = [self.shards.info.cameras[number].name for number in self._targets]
        names = dict.fromkeys([*self.input_cameras, *targets])
        layouts = np.unique(self.shards.layout[self._samples], return_index=True)[1]
        samples = self._samples[layouts].tolist()
        return [
            name
            for name in names
            if any(
                name in self.shards.images[self.shards.layout[sample]] and self.shards.mask_member(sample, name) is None
                for sample in samples
            )
        ]

    def memory_bound(self) -> dict[str, int]:
        """The most bytes that this rank's loader holds, by what for, the batch that was handed out last included."""
        config, order = self._config, self._order(0)
        rows, views = self._part[1] - self._part[0], self.input_views + config.target_views
        sample, held = self.shards.largest_sample(views), 0
        if isinstance(order, StreamOrder):
            windows = 2 + -(-self._at_once(order) // order.window)
            held = windows * order.window * -(-order.streams * rows // config.batch_frames) * sample
        batch = self._reader.batch_bytes(rows, inputs=self.input_views, targets=config.target_views)
        return {
            "index": self.shards.index_bytes + self._samples.nbytes,
            "decoded views": config.cache_mb * 2**20,
            "batches": (2 + (config.prefetch if config.workers else 0)) * batch,
            "windows of streams": held,
            "threads at work": max(config.workers, 1) * (sample + self._reader.view_bytes()),
        }

    def frames_of_unknown_light(self) -> list[str]:
        """Keys of the frames that take part and lie in shards in which nothing says how anything is lit."""
        return [self.shards.key(sample) for sample in self._samples[~self.shards.lit[self._samples]].tolist()]

    def epoch(self, step: int) -> int:
        """The epoch that a global step belongs to."""
        return self._order(0).position(step)[0]

    def keys(self, step: int) -> list[str]:
        """Sample keys of this rank's part of a step, were none damaged; reads nothing."""
        return [self.shards.key(sample) for sample in self._samples_of(step).tolist()]

    def shards_of(self, step: int) -> list[str]:
        """File names of the shards that hold this rank's part of a step, sorted; reads nothing."""
        return sorted({self.shards.shard_name(sample) for sample in self._samples_of(step).tolist()})

    def batches(self, start_step: int = 0) -> Generator[FrameBatch, None, None]:
        """This rank's part of every global batch from ``start_step`` on, without end.

        Raises:
            DamageError: when the damaged batch is due, under ``on_error=fail``, or where nothing can be read.
        """
        with reading_threads(self._config.workers, computes=self._config.augment.active) as pool:
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
        epoch, begin = self._order(0).position(step)
        self._order(epoch)  # made once, here, and not by every thread
        targets = self._config.target_views
        batch = self._reader.new_batch(stop - first, inputs=self.input_views, targets=targets)
        rows = [pool.submit(self._fill_row, batch, row, epoch, begin + first + row) for row in range(stop - first)]
        if self._streams is not None and self._config.workers:
            for place in range(begin + first, begin + stop):
                work = self._streams.read_ahead(epoch, place)
                if work is not None:
                    pool.submit(work)
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
        order = self._order(epoch)
        for attempt in range(min(self.frames, order.patience)):
            number = order.stand_in(place, attempt)
            draw = int(order.slice(epoch, number, number + 1)[0])
            try:
                members = self._streamed(epoch, number, stand_in=attempt > 0)
                self._fill(batch, row, epoch, draw, members)
            except DamageError as damage:
                if self._config.on_error is OnError.fail:
                    raise
                damages.append(damage)
                continue
            return damages
        raise VrmmError(
            f"{len(damages)} samples in a row cannot be read, the last: {damages[-1]}; is the storage still there?"
        )

    def _streamed(self, epoch: int, place: int, stand_in: bool) -> Mapping[str, bytes] | None:
        """The members of the sample at a place as its stream brings them; None where they are read by range."""
        return None if self._streams is None else self._streams.take(epoch, place, stand_in=stand_in)

    def _fill(self, batch: FrameBatch, row: int, epoch: int, draw: int, members: Mapping[str, bytes] | None) -> None:
        sample, name = self._sample(epoch, draw)
        self._reader.fill(batch, row, sample, self._encoder_views(sample), self._pick(sample, epoch, name), members)
        batch.subject[row] = int(self._subject_number[self.shards.subject[sample]])
        if self._config.augment.active:
            augment_row(batch, row, self._config.augment, seed=self._config.seed, epoch=epoch, key=name)

    def _sample(self, epoch: int, draw: int) -> tuple[int, str]:
        """The number of a draw's sample, and a name for what is random about it: its key, and that it is a repeat."""
        number = np.array([draw])
        sample, repeat = int(self._draws.samples(epoch, number)[0]), int(self._draws.repeats(epoch, number)[0])
        key = self.shards.key(sample)
        return sample, f"{key}.{repeat}" if repeat else key

    def _encoder_views(self, sample: int) -> list[int]:
        return self._inputs[self.shards.source[sample]]

    def _pick(self, sample: int, epoch: int, name: str) -> list[int]:
        images, cameras = self.shards.images[self.shards.layout[sample]], self.shards.info.cameras
        available = [number for number in self._targets if cameras[number].name in images]
        return pick_cameras(available, self._config.target_views, seed=self._config.seed, epoch=epoch, key=name)

    def _samples_of(self, step: int) -> np.ndarray:
        epoch, begin = self._order(0).position(step)
        draws = self._order(epoch).slice(epoch, begin + self._part[0], begin + self._part[1])
        return self._draws.samples(epoch, draws)

    def _make_draws(self) -> Draws:
        shard, shards = self.shards.shard[self._samples], len(self.shards.samples_per_shard)
        if not self._config.balance:
            return EachOnce(self._samples, shard, shards)
        labels = load_labels(self.shards, skip_damaged=self._config.on_error is OnError.skip)
        chosen = [labels.numbers[kind][self._samples] for kind in self._config.balance]
        return Balanced(self._samples, shard, shards, chosen, self._config.seed)

    def _order(self, epoch: int) -> EpochOrder:
        return self._order_of(0 if self._draws.constant else epoch)

    def _make_order(self, epoch: int) -> EpochOrder:
        config, counts = self._config, self._draws.per_shard(epoch)
        if config.mode is Mode.members:
            return SampleOrder(counts, batch=config.batch_frames, block=config.shuffle_shards, seed=config.seed)
        window, streams = config.stream_window, config.streams
        return StreamOrder(counts, batch=config.batch_frames, streams=streams, window=window, seed=config.seed)

    def _open_streams(self, world_size: int) -> StreamReader:
        if self._config.streams % world_size:
            raise VrmmError(
                f"streams {self._config.streams} cannot be dealt over {world_size} ranks; choose a multiple of them"
            )

        def order(epoch: int) -> StreamOrder:
            made = self._order(epoch)
            assert isinstance(made, StreamOrder)
            return made

        return StreamReader(self.shards, order, self._wanted, at_once=self._at_once(order(0)))

    def _at_once(self, order: StreamOrder) -> int:
        """Samples of a stream in the batches that are made at the same time."""
        batches = 1 + (self._config.prefetch if self._config.workers else 0)
        return batches * -(-order.batch // order.streams)

    def _wanted(self, epoch: int, draw: int) -> tuple[int, list[str]]:
        sample, name = self._sample(epoch, draw)
        targets = self._pick(sample, epoch, name)
        return sample, self._reader.members(sample, self._encoder_views(sample), targets, cached=False)

    def _eligible(self) -> tuple[np.ndarray, int]:
        """The samples of the chosen splits that have all views, and how many lack one."""
        info, config = self.shards.info, self._config
        numbers = [self.subjects.index(name) if name in self.subjects else -1 for name in info.subjects]
        self._subject_number = np.array(numbers, np.int64)
        frame_splits = np.array([config.frames.holds("train"), config.frames.holds("held_out")])
        chosen = (self._subject_number >= 0)[self.shards.subject] & frame_splits[self.shards.held_out.astype(int)]
        targets = [info.cameras[number].name for number in self._targets]
        inputs = [set(names) for names in inputs_of_parts(info, self.input_cameras)]
        complete = [
            images.keys() >= inputs[part] and sum(name in images for name in targets) >= config.target_views
            for images, part in zip(self.shards.images, self.shards.parts, strict=True)
        ]
        usable = chosen & np.array(complete, bool)[self.shards.layout]
        return np.flatnonzero(usable), int(chosen.sum() - usable.sum())


@dataclasses.dataclass(kw_only=True)
class _Pending:
    batch: FrameBatch
    rows: list["concurrent.futures.Future[list[DamageError]]"]


def _subjects(info: CaptureInfo, split: Split) -> tuple[str, ...]:
    if split is Split.train:
        return training_subjects(info)
    return tuple(subject for subject in info.subjects if split.holds(info.subject_splits[subject]))
