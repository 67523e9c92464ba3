"""The order of streams: every sample once an epoch, each stream on one rank, any window reachable without the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.order import rank_part
from datasets.stream_order import StreamOrder

counts = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda values: sum(values) > 0)
seeds = st.integers(-(2**70), 2**70)


@st.composite
def orders(draw: st.DrawFn) -> StreamOrder:
    shards = draw(counts)
    batch = draw(st.integers(1, sum(shards)))
    fitting = [n for n in range(1, 4 * batch + 1) if batch % n == 0 or n % batch == 0]
    streams = draw(st.sampled_from(fitting))
    window, seed = draw(st.integers(1, 7)), draw(seeds)
    return StreamOrder(np.array(shards), batch=batch, streams=streams, window=window, seed=seed)


@settings(max_examples=150, deadline=None)
@given(orders(), st.integers(0, 10**9), st.data())
def test_every_sample_once_an_epoch_and_each_stream_on_one_rank(order, epoch, data) -> None:
    worlds = [n for n in range(1, order.batch + 1) if order.batch % n == 0 and order.streams % n == 0]
    world = data.draw(st.sampled_from(worlds))
    whole = order.slice(epoch, 0, order.samples)
    assert sorted(whole) == list(range(order.samples))
    seen, ranks = [], {}
    for step in range(order.steps_per_epoch):
        for rank in range(world):
            start, stop = rank_part(order.batch, rank, world)
            places = range(step * order.batch + start, step * order.batch + stop)
            seen += order.slice(epoch, places.start, places.stop).tolist()
            for place in places:
                ranks.setdefault(order.locate(place)[0], set()).add(rank)
    assert seen == whole[: order.samples - order.dropped].tolist()
    assert all(len(of_stream) == 1 for of_stream in ranks.values()), "a stream is read by one rank"


@settings(max_examples=150, deadline=None)
@given(orders(), st.integers(0, 3))
def test_streams_are_windows_of_neighbours(order, epoch) -> None:
    """What a reader that begins at a window is given, it needs: the same samples, and none of an earlier window."""
    places = [order.locate(place) for place in range(order.samples)]
    assert [order.place(*found) for found in places] == list(range(order.samples))
    assert sorted(places) == [(s, i) for s in range(order.streams) for i in range(order.length(s))]
    lengths = [order.length(stream) for stream in range(order.streams)]
    assert max(lengths) - min(lengths) <= 1
    for stream, length in enumerate(lengths):
        taken = [
            int(order.slice(epoch, place, place + 1)[0]) for place in (order.place(stream, i) for i in range(length))
        ]
        for window in range(-(-length // order.window)):
            read = order.reading_order(epoch, stream, window).tolist()
            first = window * order.window
            assert sorted(read[: order.window]) == sorted(taken[first : first + order.window])
            assert len(read) == length - first


@settings(max_examples=60, deadline=None)
@given(orders(), st.data())
def test_stand_ins_are_all_samples_of_the_stream(order, data) -> None:
    place = data.draw(st.integers(0, order.samples - 1))
    stream, _ = order.locate(place)
    found = [order.stand_in(place, attempt) for attempt in range(order.length(stream))]
    assert found[0] == place
    assert sorted(found) == sorted(order.place(stream, index) for index in range(order.length(stream)))


def test_streams_read_their_shards_one_after_the_other() -> None:
    order = StreamOrder(np.full(20, 10), batch=4, streams=4, window=5, seed=1)
    for stream in range(4):
        shards = order.reading_order(0, stream, 0) // 10
        assert len(set(shards.tolist())) == 5
        assert int((np.diff(shards) != 0).sum()) == 4, "no shard is opened twice"
    one = {tuple(order.slice(epoch, 0, 200)) for epoch in range(5)}
    assert len(one) == 5, "epochs differ"
    window = order.slice(0, 0, 20).reshape(5, 4)[:, 0]
    assert window.tolist() != sorted(window.tolist()), "samples of a window are shuffled"


def test_the_order_of_released_versions_stays() -> None:
    """A changed constant would silently change every run that is resumed. These numbers may never change."""
    order = StreamOrder(np.array([3, 4, 2, 3]), batch=4, streams=2, window=3, seed=7)
    assert order.slice(1, 0, 12).tolist() == [0, 2, 3, 8, 1, 9, 7, 5, 11, 10, 4, 6]


def test_impossible_streams_are_named() -> None:
    with pytest.raises(VrmmError, match="streams 3 is neither a multiple nor a divisor of batch_frames 4"):
        StreamOrder(np.array([9]), batch=4, streams=3, window=2, seed=0)
    with pytest.raises(VrmmError, match="batch_frames 5 exceeds the 4 frames"):
        StreamOrder(np.array([2, 2]), batch=5, streams=5, window=1, seed=0)
