"""What an epoch is made of: every sample once, or groups of samples equally often."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from datasets.order import random_numbers

_OFFSET, _WITHIN = 5, 6  # streams of random numbers, others than those of the orders


class Draws(ABC):
    """N draws an epoch, numbered in storage order. A pure function of the epoch.

    Attributes:
        constant: every epoch is made of the same.
    """

    constant: bool

    @abstractmethod
    def per_shard(self, epoch: int) -> Int[np.ndarray, "shards"]:
        """How many draws each shard holds; N in all, the same in every epoch."""

    @abstractmethod
    def samples(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Sample numbers of draws."""

    @abstractmethod
    def repeats(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """How often each draw's sample has been drawn in this epoch by draws of lower number."""


class EachOnce(Draws):
    """Every sample is drawn once. Final.

    Args:
        samples: their numbers, ascending.
        shard: of each.
        shards: how many there are.
    """

    constant = True

    def __init__(self, samples: Int[np.ndarray, "N"], shard: Int[np.ndarray, "N"], shards: int) -> None:
        self._samples = samples
        self._per_shard = np.bincount(shard, minlength=shards)

    def per_shard(self, epoch: int) -> Int[np.ndarray, "shards"]:
        return self._per_shard

    def samples(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        return self._samples[draws]

    def repeats(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        return np.zeros(len(draws), np.int64)


class Balanced(Draws):
    """Groups of samples are drawn equally often. Final.

    The first label splits the draws of an epoch evenly over its values, the next label each of these parts evenly over
    the values that occur there, and so on; the samples of a last part share it evenly. Every part gets its share of
    the N draws rounded up or down, and so does every sample, each epoch another few the larger number (systematic
    sampling, Madow 1949).

    Args:
        samples: their numbers, ascending.
        shard: of each.
        shards: how many there are.
        labels: of each sample, one array a level.
        seed: of the run.
    """

    constant = False

    def __init__(
        self,
        samples: Int[np.ndarray, "N"],
        shard: Int[np.ndarray, "N"],
        shards: int,
        labels: Sequence[Int[np.ndarray, "N"]],
        seed: int,
    ) -> None:
        self._samples, self._shard, self._shards, self._seed = samples, shard, shards, seed
        self._part, self._share = _shares(labels, len(samples))
        self._epoch = functools.lru_cache(2)(self._draw)

    def per_shard(self, epoch: int) -> Int[np.ndarray, "shards"]:
        return np.bincount(self._shard[self._epoch(epoch).sample], minlength=self._shards)

    def samples(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        return self._samples[self._epoch(epoch).sample[draws]]

    def repeats(self, epoch: int, draws: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        drawn = self._epoch(epoch)
        return draws - drawn.first[drawn.sample[draws]]

    def _draw(self, epoch: int) -> "_Epoch":
        count = len(self._samples)
        order = np.lexsort([random_numbers(count, self._seed, epoch, _WITHIN), self._part])
        offset = float(random_numbers(1, self._seed, epoch, _OFFSET)[0] >> np.uint64(11)) / 2.0**53
        ends = np.cumsum(self._share[order])
        ends = np.floor(count * (ends / ends[-1]) + offset).astype(np.int64)
        times = np.empty(count, np.int64)
        times[order] = np.diff(ends, prepend=0)
        return _Epoch(sample=np.repeat(np.arange(count), times), first=np.cumsum(times) - times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Epoch:
    """The sample of each draw, by its place among those that take part, and the first draw of each sample."""

    sample: Int[np.ndarray, "N"]
    first: Int[np.ndarray, "N"]


def _shares(labels: Sequence[Int[np.ndarray, "N"]], count: int) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """The last part that each sample belongs to, numbered so that parts of a part are neighbours, and its share."""
    part, share = np.zeros(count, np.int64), np.ones(count)
    for label in labels:
        values = int(label.max(initial=0)) + 1
        pairs, child = np.unique(part * values + label, return_inverse=True)
        share /= np.bincount(pairs // values)[part]
        part = child
    return part, share / np.bincount(part)[part]
