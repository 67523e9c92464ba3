"""The order: every sample once an epoch, the same for any ranks and any resume, shuffled but local."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.order import SampleOrder, mix, permutation, random_numbers, rank_part

counts = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda values: sum(values) > 0)
seeds = st.integers(-(2**70), 2**70)


@settings(max_examples=150, deadline=None)
@given(counts, st.integers(1, 5), seeds, st.integers(0, 10**9), st.data())
def test_every_sample_once_an_epoch_for_any_ranks(shards, block, seed, epoch, data) -> None:
    batch = data.draw(st.integers(1, sum(shards)))
    ranks = data.draw(st.sampled_from([n for n in range(1, batch + 1) if batch % n == 0]))
    order = SampleOrder(np.array(shards), batch=batch, block=block, seed=seed)
    whole = order.slice(epoch, 0, order.samples)
    assert sorted(whole) == list(range(sum(shards)))
    assert order.steps_per_epoch * batch + order.dropped == order.samples
    assert 0 <= order.dropped < batch
    seen = []
    fresh = SampleOrder(np.array(shards), batch=batch, block=block, seed=seed)  # a resumed process remembers nothing
    for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
        found, begin = fresh.position(step)
        assert found == epoch
        for rank in range(ranks):
            start, stop = rank_part(batch, rank, ranks)
            seen += fresh.slice(found, begin + start, begin + stop).tolist()
    assert seen == whole[: len(whole) - order.dropped].tolist()


@settings(max_examples=60, deadline=None)
@given(counts, st.integers(1, 5), seeds, st.data())
def test_any_slice_agrees_with_the_whole(shards, block, seed, data) -> None:
    order = SampleOrder(np.array(shards), batch=1, block=block, seed=seed)
    start = data.draw(st.integers(0, order.samples))
    stop = data.draw(st.integers(start, order.samples))
    assert order.slice(3, start, stop).tolist() == order.slice(3, 0, order.samples)[start:stop].tolist()


def test_a_stretch_of_the_order_touches_few_shards() -> None:
    order = SampleOrder(np.full(100, 10), batch=10, block=4, seed=0)
    whole = order.slice(0, 0, 1000)
    for block in whole.reshape(25, 40):
        shards = {sample // 10 for sample in block.tolist()}
        assert len(shards) == 4
    assert not all(np.diff(np.sort(whole[:40])) == 1), "the shards of a block must not be neighbours"
    assert len({sample // 10 for sample in whole[:10].tolist()}) > 1, "samples of a block must be mixed"


def test_epochs_and_seeds_give_other_orders() -> None:
    orders = [
        tuple(SampleOrder(np.full(4, 10), batch=1, block=2, seed=seed).slice(epoch, 0, 40))
        for seed, epoch in itertools.product(range(5), range(5))
    ]
    assert len(set(orders)) == 25


def test_the_order_of_released_versions_stays() -> None:
    """A changed constant would silently change every run that is resumed. These numbers may never change."""
    first_of_splitmix64 = mix(np.array([0x9E3779B97F4A7C15], np.uint64))[0]  # published with the algorithm
    assert int(first_of_splitmix64) == 0xE220A8397B1DCDAF
    assert random_numbers(3, 0).tolist() == [2558736989570252433, 17913671590881668180, 5125111896206277188]
    order = SampleOrder(np.array([3, 4, 2]), batch=1, block=2, seed=7)
    assert order.slice(1, 0, 9).tolist() == [0, 3, 2, 6, 5, 4, 1, 8, 7]


def test_random_numbers_are_uniform_and_independent() -> None:
    """Chi-square over places, and no correlation between streams: a biased shuffle would bias training."""
    n, trials = 8, 4000
    table = np.zeros((n, n))
    for seed in range(trials):
        table[np.arange(n), permutation(n, seed, 1)] += 1
    expected = trials / n
    chi2 = ((table - expected) ** 2 / expected).sum()
    assert chi2 < 49 + 5 * np.sqrt(2 * 49), "49 degrees of freedom, five standard deviations"
    first, second = (random_numbers(10000, 5, stream) / 2.0**64 for stream in (1, 2))
    assert abs(first.mean() - 0.5) < 5 / np.sqrt(12 * 10000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(10000)


def test_impossible_splits_are_named() -> None:
    with pytest.raises(VrmmError, match="batch_frames 5 exceeds the 4 frames"):
        SampleOrder(np.array([2, 2]), batch=5, block=1, seed=0)
    with pytest.raises(VrmmError, match="batch_frames 4 is no multiple of the 3 ranks"):
        rank_part(4, 0, 3)
    with pytest.raises(VrmmError, match="rank 2 is not in a world of 2"):
        rank_part(4, 2, 2)
