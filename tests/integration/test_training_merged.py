"""A merged set trains as any other: two rigs, two colours, single lamps and flat light, two shapes of pictures."""

import math
from pathlib import Path

import pytest
from safetensors import safe_open

from datasets.capture import ImageEncoding
from datasets.shard_merge import merge_shards
from datasets.shards import build_shards
from tests.datasets.tiny_capture import TinyCapture
from tests.integration.training_run import RECIPE, finish, logged, start

pytestmark = pytest.mark.long


def test_training_on_a_merged_set(tmp_path: Path) -> None:
    srgb = ImageEncoding(transfer="srgb", bits=8)
    build_shards(TinyCapture(subjects=2, frames=4, size=(48, 48), splits=False, name="olat"), tmp_path / "olat")
    flat = TinyCapture(
        subjects=2, frames=4, size=(96, 56), splits=False, name="flat", turn=5.0, encoding=srgb, flat_lit=True
    )
    build_shards(flat, tmp_path / "flat")
    merge_shards([tmp_path / "olat", tmp_path / "flat"], tmp_path / "shards")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = tmp_path / "run"
    overrides = ("trainer.steps=4", "trainer.preview_every=4", "loader.image_size=48", "cameras.gain=true")
    finish(start(tmp_path / "recipe.yaml", out, *overrides, ranks=2))
    rows = logged(out)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert (out / "previews" / "step_000004.png").exists()
    with safe_open(out / "weights.safetensors", "np") as weights:
        assert weights.get_slice("identity_codes.weight").get_shape()[0] == 4, "four people, two of each capture"
