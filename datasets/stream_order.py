"""The order of samples that are read shard by shard: a fixed number of logical streams, dealt over the ranks.

The shards of an epoch are shuffled and laid end to end, and the row of samples is cut into S streams of equal length
(within one). A stream is read from front to back. It is cut into windows of W samples, and the samples of a window are
shuffled, so that a reader holds a window or two and can begin at any window. A batch takes its part of every stream
in turn, arranged so that each stream feeds the same rows, and so the same rank, of every batch.
"""

import functools

import numpy as np
from jaxtyping import Int

from datasets.errors import VrmmError
from datasets.order import EpochOrder, permutation

_SHARDS, _WINDOWS = 3, 4  # streams of random numbers, others than those of datasets.order


class StreamOrder(EpochOrder):
    """Samples can only be read in storage order. Final.

    Args:
        samples_per_shard: [shards] the samples that take part, numbered in storage order.
        batch: samples in a global batch, B.
        streams: S, a multiple or a divisor of B.
        window: samples of a stream that are shuffled together, W.
        seed: of the run.

    Raises:
        VrmmError: fewer samples than one batch, or streams that do not fit the batch.
    """

    def __init__(
        self, samples_per_shard: Int[np.ndarray, "shards"], *, batch: int, streams: int, window: int, seed: int
    ) -> None:
        super().__init__(samples_per_shard, batch)
        if batch % streams and streams % batch:
            raise VrmmError(
                f"streams {streams} is neither a multiple nor a divisor of batch_frames {batch}; choose one that is"
            )
        self.streams, self.window, self._seed = streams, window, seed
        self._per_batch = max(batch // streams, 1)  # samples of a stream in a batch
        self._cycle = max(streams // batch, 1)  # batches after which every stream has been read from
        longer = [self._turn(stream) < self.samples % streams for stream in range(streams)]
        self._lengths = self.samples // streams + np.array(longer, np.int64)
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._row = functools.lru_cache(2)(self._epoch_row)
        self._shuffled = functools.lru_cache(4 * streams)(self._window_order)

    def length(self, stream: int) -> int:
        """Samples of a stream."""
        return int(self._lengths[stream])

    def slice(self, epoch: int, start: int, stop: int) -> Int[np.ndarray, "n"]:
        """Samples at places ``start`` to ``stop`` of an epoch's order; only the windows there are shuffled."""
        places = range(start, min(stop, self.samples))
        return np.array([self._sample(epoch, *self.locate(place)) for place in places], np.int64)

    def stand_in(self, place: int, attempt: int) -> int:
        """The next of the same stream, round again at its end."""
        stream, index = self.locate(place)
        return self.place(stream, (index + attempt) % self.length(stream))

    def locate(self, place: int) -> tuple[int, int]:
        """The stream that feeds a place, and the index in that stream's order."""
        batch, row = divmod(place, self.batch)
        if self._cycle > 1:
            return row * self._cycle + batch % self._cycle, batch // self._cycle
        if batch < self.steps_per_epoch:
            stream, index = divmod(row, self._per_batch)
            return stream, batch * self._per_batch + index
        index, stream = divmod(row, self.streams)  # the samples left over
        return stream, batch * self._per_batch + index

    def place(self, stream: int, index: int) -> int:
        """The place that takes that sample of a stream; undoes ``locate``."""
        if self._cycle > 1:
            return index * self.streams + self._turn(stream)
        batch, rest = divmod(index, self._per_batch)
        if batch < self.steps_per_epoch:
            return batch * self.batch + stream * self._per_batch + rest
        rest = index - self.steps_per_epoch * self._per_batch
        return self.steps_per_epoch * self.batch + rest * self.streams + stream

    def reading_order(self, epoch: int, stream: int, window: int) -> Int[np.ndarray, "n"]:
        """Samples of a stream in the order in which they are read, from the beginning of a window on."""
        start, stop = self._begins[stream] + window * self.window, self._begins[stream] + self._lengths[stream]
        return self._at(epoch, np.arange(start, stop))

    def _turn(self, stream: int) -> int:
        """When a stream is read from, of those that a cycle of batches reads from one after the other."""
        return stream % self._cycle * min(self.batch, self.streams) + stream // self._cycle

    def _sample(self, epoch: int, stream: int, index: int) -> int:
        window, rest = divmod(index, self.window)
        return int(self._shuffled(epoch, stream, window)[rest])

    def _window_order(self, epoch: int, stream: int, window: int) -> Int[np.ndarray, "W"]:
        start = int(self._begins[stream]) + window * self.window
        stop = min(start + self.window, int(self._begins[stream] + self._lengths[stream]))
        return self._at(epoch, start + permutation(stop - start, self._seed, epoch, _WINDOWS, stream, window))

    def _at(self, epoch: int, positions: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Samples at positions of the epoch's row of shards."""
        shards, ends = self._row(epoch)
        number = np.searchsorted(ends, positions, side="right")
        return self._first[shards[number]] + positions - (ends[number] - self._counts[shards[number]])

    def _epoch_row(self, epoch: int) -> tuple[Int[np.ndarray, "shards"], Int[np.ndarray, "shards"]]:
        """The shards of an epoch in order, and the position where each ends."""
        shards = permutation(len(self._counts), self._seed, epoch, _SHARDS)
        return shards, np.cumsum(self._counts[shards])
