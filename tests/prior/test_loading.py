"""What a run says about its data, and recipes whose loading contradicts the model."""

import json
from pathlib import Path

import pytest

from datasets.config import load_config
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shards import build_shards
from prior.recipe import TrainRecipe
from prior.runfolder import describe_loading, remember_lost
from prior.trainer import check_data
from tests.datasets.tiny_capture import TinyCapture


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(TinyCapture(subjects=3, frames=6, size=(40, 40)), out)
    return out


@pytest.mark.parametrize("moved", ["loader.augment.crop=0.2", "loader.crop={by: mask, size: 32}"])
def test_backgrounds_need_pictures_that_stand_still(shards: Path, moved: str) -> None:
    """A background is learned at fixed places of a camera's picture."""
    overrides = [f"loader.shards={shards}", "cameras.background=8"]
    still, other = (load_config(TrainRecipe, None, [*overrides, *more]) for more in ([], [moved]))
    check_data(still, FrameLoader(still.loader))
    with pytest.raises(VrmmError, match="cameras.background learns what stands still .* set cameras.background=0"):
        check_data(other, FrameLoader(other.loader))


def test_a_run_says_what_its_loader_leaves_over(shards: Path, tmp_path: Path) -> None:
    loader = FrameLoader(LoaderConfig(shards=str(shards), batch_frames=4))
    describe_loading(tmp_path, loader)
    facts = json.loads((tmp_path / "loading.json").read_text())
    assert (facts["frames"], facts["steps_per_epoch"], facts["left_over_per_epoch"]) == (10, 2, 2)
    assert facts["memory_bytes_per_rank"]["decoded views"] == 256 * 2**20


def test_lost_samples_are_remembered_over_restarts(tmp_path: Path) -> None:
    remember_lost(tmp_path, 0, {})
    assert list(tmp_path.iterdir()) == []
    remember_lost(tmp_path, 1, {"a": "cut"})
    remember_lost(tmp_path, 1, {"a": "cut", "b": "gone"})
    remember_lost(tmp_path, 1, {"c": "gone"})
    assert json.loads((tmp_path / "lost_rank1.json").read_text()) == {"a": "cut", "b": "gone", "c": "gone"}
