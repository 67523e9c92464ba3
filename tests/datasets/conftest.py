"""Shards of a tiny capture: two people of four frames, three frames a shard."""

from pathlib import Path

import pytest

from datasets.shards import build_shards
from tests.datasets.shard_damage import copy_of
from tests.datasets.tiny_capture import PER_SHARD, TinyCapture


@pytest.fixture(scope="module")
def capture() -> TinyCapture:
    return TinyCapture(subjects=2, frames=4)


@pytest.fixture(scope="module")
def built(capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(capture, out, samples_per_shard=PER_SHARD)
    return out


@pytest.fixture
def shards(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copy_of(built, tmp_path / "copy")
