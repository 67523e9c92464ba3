"""``on_error: skip`` under every kind of damage: exactly what was hit and would be read is lost, whatever the ranks."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from datasets.loader import FrameLoader, LoaderConfig, OnError, Split
from datasets.manifest import read_manifest
from datasets.shard_merge import merge_shards
from datasets.shards import build_shards, open_shards
from tests.datasets.shard_damage import cut, flip_bit, tar_members
from tests.datasets.tiny_capture import TinyCapture
from tools.bench.damage import DAMAGES, Damage, SoundShards

EPOCHS = 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(TinyCapture(subjects=3, frames=6), out, samples_per_shard=4)
    return out


def _config(folder: Path, **values) -> LoaderConfig:
    return LoaderConfig(shards=str(folder), on_error=OnError.skip, **{"batch_frames": 2, "target_views": 6, **values})


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
@pytest.mark.parametrize("world", [1, 2])
def test_what_is_lost_is_what_was_hit(built: Path, tmp_path: Path, damage: Damage, world: int) -> None:
    sound = SoundShards(built)
    for seed in range(3):
        folder = tmp_path / str(seed)
        sound.write(folder)
        damage.apply(folder, sound, np.random.default_rng(seed))
        config = _config(folder, cameras=Split.all, target_views=7)
        loaders = [FrameLoader(config, rank, world) for rank in range(world)]
        steps = EPOCHS * loaders[0].steps_per_epoch
        due = [key for loader in loaders for step in range(steps) for key in loader.keys(step)]
        hit = sound.lost(folder) & set(due)
        seen = [key for loader in loaders for batch in islice(loader.batches(), steps) for key in batch.keys]
        assert set().union(*(loader.lost for loader in loaders)) == hit
        assert sum(loader.replaced for loader in loaders) == sum(key in hit for key in due)
        assert len(seen) == len(due), "every batch is full"
        assert set(seen) == set(due) - hit


def test_damage_that_is_never_read_costs_nothing(built: Path, tmp_path: Path) -> None:
    """A held-out camera, a held-out frame, a tar header: training does not miss them, so it must not lose a sample."""
    sound = SoundShards(built)
    sound.write(tmp_path / "copy")
    random = np.random.default_rng(0)
    held_out = next(key for key, away in _held_out(built) if away)
    for path in (tmp_path / "copy").glob("*.tar"):
        for member in tar_members(built / path.name):
            unread = ".hidden." in member.name or member.name.startswith(held_out)
            flip_bit(path, member.offset_data + 90 if unread else member.offset + 10, random)
    loader = FrameLoader(_config(tmp_path / "copy"))
    for batch in islice(loader.batches(), 3 * loader.steps_per_epoch):
        assert held_out not in batch.keys
    assert (loader.lost, loader.replaced) == ({}, 0)


def _held_out(folder: Path) -> list[tuple[str, bool]]:
    shards = open_shards(folder)
    return [(shards.key(sample), bool(shards.held_out[sample])) for sample in range(len(shards))]


def test_a_resumed_run_counts_only_its_own_part(built: Path, tmp_path: Path) -> None:
    """Two halves of a run lose together what one whole run loses."""
    sound = SoundShards(built)
    sound.write(tmp_path / "copy")
    gone = read_manifest(tmp_path / "copy").shards[0]
    (tmp_path / "copy" / gone.name).unlink()
    whole, first, second = (FrameLoader(_config(tmp_path / "copy", seed=3)) for _ in range(3))
    steps = 2 * whole.steps_per_epoch
    for loader, begin, end in ((whole, 0, steps), (first, 0, steps // 2 + 1), (second, steps // 2 + 1, steps)):
        for _ in islice(loader.batches(begin), end - begin):
            pass
    assert whole.replaced == first.replaced + second.replaced > 0
    assert whole.lost == {**first.lost, **second.lost}
    trained = [key for key, away in zip(gone.keys, gone.held_out, strict=True) if not away]
    assert sorted(whole.lost) == sorted(trained)
    assert all("cannot be read (No such file or directory)" in reason for reason in whole.lost.values())


def test_losses_in_a_merged_set_carry_its_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_shards(TinyCapture(subjects=2, frames=3, splits=False, name=name), tmp_path / name)
    merge_shards([tmp_path / "a", tmp_path / "b"], tmp_path / "both", copy=True)
    lamps = next(m for m in tar_members(tmp_path / "both" / "b-000000.tar") if m.name == "s1_talk_000002.light.npz")
    cut(tmp_path / "both" / "b-000000.tar", lamps.offset_data + 3)
    loader = FrameLoader(_config(tmp_path / "both"))
    for _ in islice(loader.batches(), loader.steps_per_epoch):
        pass
    assert list(loader.lost) == ["b-s1_talk_000002"]
    assert "b-000000.tar: member " in loader.lost["b-s1_talk_000002"]
