"""``mode: stream``: the promises of the loader hold where shards are read from front to back."""

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.augment import AugmentConfig
from datasets.batch import FrameBatch
from datasets.errors import VrmmError
from datasets.labels import Balance
from datasets.loader import FrameLoader, LoaderConfig, Mode, OnError, Split
from datasets.shards import DamageError, ShardSet, build_shards
from tests.datasets.tiny_capture import TinyCapture
from tools.bench.damage import DAMAGES, Damage, SoundShards

CHANGES = AugmentConfig(exposure=1.0, blur=1.0, noise=0.1, crop=0.3)
FRAMES = 3 * 5  # of three training subjects, one of six held out


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(TinyCapture(subjects=4, frames=6), out, samples_per_shard=4)
    return out


def _loader(folder: Path, rank: int = 0, world: int = 1, **values) -> FrameLoader:
    common = {"mode": Mode.stream, "batch_frames": 4, "streams": 4, "stream_window": 2, "workers": 0}
    return FrameLoader(LoaderConfig(shards=str(folder), **{**common, **values}), rank, world)


def _take(loader: FrameLoader, start: int, count: int) -> list[FrameBatch]:
    batches = loader.batches(start)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def _rows(batch: FrameBatch) -> list[tuple]:
    tensors = [getattr(batch, field.name) for field in dataclasses.fields(batch) if field.name != "keys"]
    return [(key, *(tensor[row].numpy().tobytes() for tensor in tensors)) for row, key in enumerate(batch.keys)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ranks_workers_and_resume_change_nothing(shards: Path, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(list(Mode)))
    batch, streams = data.draw(st.sampled_from([(4, 4), (4, 8), (8, 4), (2, 2), (4, 2)]))
    world = data.draw(st.sampled_from([n for n in (1, 2, 4) if batch % n == 0 and streams % n == 0]))
    common = {
        "mode": mode, "batch_frames": batch, "streams": streams, "stream_window": data.draw(st.integers(1, 5)),
        "seed": data.draw(st.integers(0, 5)), "balance": data.draw(st.sampled_from([[], [Balance.subject]])),
        "augment": data.draw(st.sampled_from([AugmentConfig(), CHANGES])),
    }  # fmt: skip
    start, count = data.draw(st.integers(0, FRAMES // batch + 2)), data.draw(st.integers(1, 3))
    reference = _take(_loader(shards, **common, cache_mb=64), 0, start + count)[start:]
    tuned = {
        "workers": data.draw(st.sampled_from([0, 1, 2, 4])),
        "prefetch": data.draw(st.integers(0, 3)),
        "cache_mb": 0,
    }
    parts = [_take(_loader(shards, rank, world, **common, **tuned), start, count) for rank in range(world)]
    for step in range(count):
        assert [row for part in parts for row in _rows(part[step])] == _rows(reference[step])


@pytest.mark.parametrize(("batch", "streams"), [(1, 4), (4, 4), (7, 7), (6, 2)])
def test_every_frame_once_an_epoch(shards: Path, batch: int, streams: int) -> None:
    loader = _loader(shards, batch_frames=batch, streams=streams, workers=2)
    assert loader.dropped == FRAMES % batch
    for epoch in range(3):
        taken = _take(loader, epoch * loader.steps_per_epoch, loader.steps_per_epoch)
        keys = [key for one in taken for key in one.keys]
        assert len(set(keys)) == len(keys) == FRAMES - loader.dropped
        assert keys == [key for step in range(len(taken)) for key in loader.keys(epoch * len(taken) + step)]


def test_it_gives_what_reading_by_range_gives(shards: Path) -> None:
    """Pictures, cameras, lamps and target views of a frame are those of the other mode."""
    rows = {}
    for mode in Mode:
        loader = _loader(shards, mode=mode, batch_frames=5, streams=5)
        rows[mode] = sorted(row for batch in _take(loader, 3, 3) for row in _rows(batch))
    assert rows[Mode.stream] == rows[Mode.members]


class _Opened:
    """Counts how often shards are opened, and how many bytes are read from them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shards: list[int] = []
        open_forward = ShardSet.open_forward

        def spy(shards: ShardSet, number: int):
            self.shards.append(number)
            return open_forward(shards, number)

        monkeypatch.setattr(ShardSet, "open_forward", spy)


def test_resuming_opens_the_shards_of_the_step_alone(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _Opened(monkeypatch)
    loader = _loader(shards, streams=1, batch_frames=1, stream_window=2, prefetch=0)
    for step in range(1, FRAMES):
        opened.shards.clear()
        _take(_loader(shards, streams=1, batch_frames=1, stream_window=2, prefetch=0), step, 1)
        assert len(opened.shards) <= 2, "those of one window"
        assert set(loader.shards_of(step)) <= {f"tiny-{number:06d}.tar" for number in opened.shards}


def test_an_epoch_opens_each_shard_once_per_stream(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _Opened(monkeypatch)
    loader = _loader(shards, streams=1, batch_frames=1, workers=2)
    _take(loader, 0, FRAMES)
    holding = np.unique(loader.shards.shard[loader._samples]).tolist()
    # Reading ahead may have begun the next epoch.
    assert sorted(opened.shards[: len(holding)]) == holding
    assert len(opened.shards) <= 2 * len(holding)


def test_memory_is_bounded_as_stated(shards: Path) -> None:
    loader = _loader(shards, streams=4, batch_frames=4, stream_window=3, workers=3, prefetch=2)
    bound = loader.memory_bound()["windows of streams"]
    assert loader._streams is not None
    most = 0
    batches = loader.batches()
    for _ in range(12):
        next(batches)
        windows = [window for stream in loader._streams._streams for window in list(stream._held.values())]
        members = [found for window in windows for found in list(window.values())]
        most = max(most, sum(len(data) for found in members if isinstance(found, dict) for data in found.values()))
    batches.close()
    assert 0 < most <= bound
    assert _loader(shards, mode=Mode.members).memory_bound()["windows of streams"] == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_what_is_lost_is_what_was_hit(shards: Path, tmp_path: Path, damage: Damage) -> None:
    sound = SoundShards(shards)
    for seed in range(2):
        folder = tmp_path / str(seed)
        sound.write(folder)
        damage.apply(folder, sound, np.random.default_rng(seed))
        values = {"cameras": Split.all, "target_views": 7, "batch_frames": 2, "streams": 2}
        loaders = [_loader(folder, rank, 2, on_error=OnError.skip, **values) for rank in range(2)]
        steps = 2 * loaders[0].steps_per_epoch
        due = [key for loader in loaders for step in range(steps) for key in loader.keys(step)]
        hit = sound.lost(folder) & set(due)
        seen = [key for loader in loaders for batch in _take(loader, 0, steps) for key in batch.keys]
        assert set().union(*(loader.lost for loader in loaders)) == hit
        assert sum(loader.replaced for loader in loaders) == sum(key in hit for key in due)
        assert len(seen) == len(due), "every batch is full"
        assert set(seen) <= set(due) - hit or damage.name == "truncations"
        alone = _loader(folder, on_error=OnError.skip, **values)
        assert [key for batch in _take(alone, 0, steps) for key in batch.keys] == [
            key
            for step in range(steps)
            for part in (0, 1)
            for key in seen[part * steps + step : part * steps + step + 1]
        ], "another number of ranks loses and replaces the same"


def test_damage_is_named_when_it_is_due(shards: Path, tmp_path: Path) -> None:
    sound = SoundShards(shards)
    sound.write(tmp_path / "copy")
    gone = sorted((tmp_path / "copy").glob("*.tar"))[1]
    gone.unlink()
    loader = _loader(tmp_path / "copy", batch_frames=1, streams=1)
    due = next(step for step in range(FRAMES) if loader.shards_of(step) == [gone.name])
    batches = loader.batches()
    for _ in range(due):
        next(batches)
    with pytest.raises(
        DamageError, match=rf"{gone.name}: member .* of sample {loader.keys(due)[0]} cannot be read \(No"
    ):
        next(batches)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"streams": 3}, "streams 3 is neither a multiple nor a divisor of batch_frames 4"),
        ({"streams": 0}, "streams is 0; it must be at least 1"),
        ({"stream_window": 0}, "stream_window is 0"),
        ({"disk_cache": "x"}, "disk_cache keeps what is read by range, and mode=stream reads nothing so"),
    ],
)
def test_impossible_streams_name_the_key(shards: Path, values: dict, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        _loader(shards, **values)
    with pytest.raises(VrmmError, match="streams 1 cannot be dealt over 2 ranks"):
        _loader(shards, 0, 2, streams=1)
