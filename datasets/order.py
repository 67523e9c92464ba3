"""The order in which samples are seen: a pure function of seed and epoch, whatever the ranks and workers.

Shards are shuffled, taken in blocks, and the samples of each block are shuffled together, so that a stretch of the
order touches few files. Batch ``b`` is the slice ``[b·B, (b+1)·B)`` of it and a rank takes its part of the batch.
Permutations come from a hash (splitmix64, Steele et al. 2014), not from a library's generator, so that a run can be
resumed under another version of it.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt64

from datasets.errors import VrmmError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SHARDS, _SAMPLES = 1, 2  # streams of random numbers
_PATIENCE = 100  # damaged samples in a row beyond those of two lost shards


def mix(values: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """The finaliser of splitmix64: a bijection of 64-bit numbers that looks random."""
    values = values.astype(np.uint64, copy=True)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def random_numbers(count: int, *seeds: int) -> UInt64[np.ndarray, "count"]:
    """``count`` 64-bit numbers, a pure function of ``seeds`` (any integers)."""
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = mix(state + _GOLDEN) ^ np.uint64(seed % 2**64)
    return mix(mix(state + _GOLDEN) + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64))


def permutation(count: int, *seeds: int) -> Int[np.ndarray, "count"]:
    """A random order of ``range(count)``, a pure function of ``seeds``."""
    return np.argsort(random_numbers(count, *seeds), kind="stable")


class EpochOrder(ABC):
    """The endless sequence of batches over samples that lie in shards. Methods are pure functions.

    Samples are numbered from 0 in storage order, places from 0 in the order of an epoch. Each is taken by one place.

    Args:
        samples_per_shard: [shards] the samples that take part.
        batch: samples in a global batch, B.

    Attributes:
        samples: in an epoch.
        patience: samples in a row that may be damaged before the storage, not a sample, must be broken.

    Raises:
        VrmmError: fewer samples than one batch.
    """

    def __init__(self, samples_per_shard: Int[np.ndarray, "S"], batch: int) -> None:
        self._counts = np.asarray(samples_per_shard, np.int64)
        self._first = np.cumsum(self._counts) - self._counts
        self.samples, self.batch = int(self._counts.sum()), batch
        self.patience = _PATIENCE + 2 * int(self._counts.max(initial=0))
        if self.samples < batch:
            raise VrmmError(f"batch_frames {batch} exceeds the {self.samples} frames to train on; lower it")

    @property
    def steps_per_epoch(self) -> int:
        return self.samples // self.batch

    @property
    def dropped(self) -> int:
        """Samples left over at the end of each epoch (others each time)."""
        return self.samples % self.batch

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of a global step, and the place in that epoch's order where its batch begins."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return epoch, batch * self.batch

    @abstractmethod
    def slice(self, epoch: int, start: int, stop: int) -> Int[np.ndarray, "n"]:
        """Samples at places ``start`` to ``stop`` of an epoch's order; costs no more than these places are worth."""

    @abstractmethod
    def stand_in(self, place: int, attempt: int) -> int:
        """The place whose sample is taken where that of ``place`` and ``attempt - 1`` stand-ins are damaged."""


class SampleOrder(EpochOrder):
    """Any sample can be read at any time: shards are shuffled in blocks. Final.

    Args:
        samples_per_shard: [shards] the samples that take part, numbered in storage order.
        batch: samples in a global batch, B.
        block: shards whose samples are shuffled together.
        seed: of the run.

    Raises:
        VrmmError: fewer samples than one batch.
    """

    def __init__(self, samples_per_shard: Int[np.ndarray, "S"], *, batch: int, block: int, seed: int) -> None:
        super().__init__(samples_per_shard, batch)
        self._block, self._seed = block, seed
        self._shards = functools.lru_cache(2)(self._shard_blocks)
        self._shuffled = functools.lru_cache(4)(self._block_order)

    def stand_in(self, place: int, attempt: int) -> int:
        """The next in the order, whatever the number of ranks."""
        return (place + attempt) % self.samples

    def slice(self, epoch: int, start: int, stop: int) -> Int[np.ndarray, "n"]:
        """Samples at places ``start`` to ``stop`` of an epoch's order; only the blocks there are shuffled."""
        blocks, ends = self._shards(epoch)
        first = int(np.searchsorted(ends, start, side="right"))
        parts = []
        for number in range(first, len(blocks)):
            begin = int(ends[number - 1]) if number else 0
            if begin >= stop:
                break
            parts.append(self._shuffled(epoch, number)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _shard_blocks(self, epoch: int) -> tuple[Sequence[np.ndarray], Int[np.ndarray, "blocks"]]:
        """The shards of each block, and where each block ends in the epoch's order."""
        order = permutation(len(self._counts), self._seed, epoch, _SHARDS)
        blocks = [order[start : start + self._block] for start in range(0, len(order), self._block)]
        return blocks, np.cumsum([self._counts[block].sum() for block in blocks])

    def _block_order(self, epoch: int, number: int) -> Int[np.ndarray, "n"]:
        shards = self._shards(epoch)[0][number]
        samples = np.concatenate([self._first[shard] + np.arange(int(self._counts[shard])) for shard in shards])
        return samples[permutation(len(samples), self._seed, epoch, _SAMPLES, number)]


def rank_part(batch: int, rank: int, world_size: int) -> tuple[int, int]:
    """The part ``[start, stop)`` of a global batch that a rank takes.

    Raises:
        VrmmError: the batch cannot be split evenly, which would weigh frames unequally.
    """
    if not 0 <= rank < world_size:
        raise VrmmError(f"rank {rank} is not in a world of {world_size}")
    if batch % world_size:
        raise VrmmError(f"batch_frames {batch} is no multiple of the {world_size} ranks; choose one that is")
    part = batch // world_size
    return rank * part, (rank + 1) * part
