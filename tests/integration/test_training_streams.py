"""Everything that a recipe can ask of the loader at once, in real training processes, over a kill and with damage."""

import json
import math
from pathlib import Path

import pytest

from datasets.shards import open_shards
from tests.integration.training_run import finish, kill_group, logged, make_data, start, wait_for_step, weights_digest

pytestmark = pytest.mark.long

ASKED = (
    "loader.mode=stream", "loader.streams=2", "loader.stream_window=3", "loader.batch_frames=2", "loader.on_error=skip",
    "loader.crop.by=mask", "loader.crop.size=32", "loader.image_size=40", "loader.balance=[subject,light_pattern]",
    "loader.augment.exposure=0.5", "loader.augment.blur=1", "loader.augment.noise=0.02", "loader.augment.crop=0.2",
)  # fmt: skip


def test_a_killed_run_goes_on_to_the_same_weights_and_the_same_losses(tmp_path: Path) -> None:
    recipe = make_data(tmp_path)
    shards = open_shards(tmp_path / "shards")
    sample = shards.sample("s1_talk_000002")
    tar = tmp_path / "shards" / shards.shard_name(sample)
    data = bytearray(tar.read_bytes())
    data[data.find(b"s1_talk_000002.meta.json\0") + 520] ^= 4
    tar.write_bytes(data)
    finish(start(recipe, tmp_path / "whole", *ASKED))
    process = start(recipe, tmp_path / "killed", *ASKED)
    wait_for_step(tmp_path / "killed", 7, process)
    kill_group(process)
    finish(start(recipe, tmp_path / "killed", *ASKED))
    assert weights_digest(tmp_path / "killed") == weights_digest(tmp_path / "whole")
    rows = logged(tmp_path / "whole")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    for run in ("whole", "killed"):
        lost = json.loads((tmp_path / run / "lost_rank0.json").read_text())
        assert list(lost) == ["s1_talk_000002"]
        loading = json.loads((tmp_path / run / "loading.json").read_text())
        assert (loading["frames"], loading["steps_per_epoch"], loading["left_over_per_epoch"]) == (21, 10, 1)
        assert all(size >= 0 for size in loading["memory_bytes_per_rank"].values())
