"""A run folder with shards as ``vrmm train`` leaves it, without any training."""

from pathlib import Path

from datasets.shard_build import build_shards
from datasets.shards import open_shards
from datasets.views import default_input_cameras
from prior.codebank import write_code_bank
from prior.vrmm import VRMM
from prior.weights import save_weights
from tests.datasets.tiny_capture import TinyCapture
from tests.fitting.tiny import RENDERING, tiny_model
from tests.integration.training_run import RECIPE


def save_model(model: VRMM, folder: Path, step: int, shards: Path) -> None:
    """Weights as the trainer saves them."""
    save_weights(model, RENDERING, folder, step=step, shards=str(shards))


def make_run(folder: Path, *, codes: bool = True) -> Path:
    """``folder/run`` on ``folder/shards``; the run.

    Args:
        folder: empty.
        codes: with the codes that are stored when training ends.
    """
    shards, run = folder / "shards", folder / "run"
    build_shards(TinyCapture(subjects=4, frames=4, size=(48, 48)), shards)
    model = tiny_model(subjects=3)
    save_model(model, run, 7, shards)
    (run / "recipe.yaml").write_text(RECIPE)
    if codes:
        opened = open_shards(shards)
        write_code_bank(model, opened, default_input_cameras(opened.info), 0, run)
    return run
