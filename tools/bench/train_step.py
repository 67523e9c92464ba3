"""Where the time of a training step goes."""

import json as json_module
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.bench.machine import machine
from tools.console import console, fail

WARM_UP = 60
"""Steps before those that are measured: every frame of the small capture is decoded by then."""


def train_step(
    recipe: Annotated[Path, typer.Argument(help="Recipe.")] = Path("configs/prior/demo.yaml"),
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes to the recipe.")] = None,
    shards: Annotated[Path | None, typer.Option(help="Training data; a small capture is made where none is.")] = None,
    steps: Annotated[int, typer.Option(min=8, help="Measured steps, in the last phase of a training.")] = 48,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Train for some steps as ``vrmm train`` does, on all ranks of the recipe, and split a step by stage."""
    from datasets.files import atomic_write_json

    with tempfile.TemporaryDirectory() as folder:
        data = shards or _capture(recipe, overrides or [], Path(folder))
        result = _measure(recipe, overrides or [], data, steps, Path(folder) / "run")
    console.print(_table(result))
    if json is not None:
        atomic_write_json(json, result)


def _measure(recipe: Path, overrides: list[str], shards: Path, steps: int, out: Path) -> dict[str, Any]:
    settings = (
        f"loader.shards={shards.resolve()}",
        f"trainer.steps={WARM_UP + steps}",
        f"trainer.profile={steps}",
        "trainer.checkpoint_every=1000000",
        "trainer.preview_every=1000000",
    )
    command = [sys.executable, "-m", "tools.main", "train", str(recipe), *overrides, *settings, "--out", str(out)]
    status = subprocess.run(command, env=dict(os.environ), stdout=subprocess.DEVNULL, check=False).returncode
    if status:
        fail(f"the training ended with status {status}; see above")
    result = json_module.loads((out / "profile.json").read_text())
    return result | {"recipe": str(recipe), "overrides": overrides, "machine": machine()}


def _capture(path: Path, overrides: list[str], folder: Path) -> Path:
    """A capture of few frames with pictures as large as the recipe is meant for."""
    from datasets.config import load_config
    from datasets.lightstage.rig import RigConfig
    from datasets.lightstage.stage import StageConfig
    from datasets.lightstage.synth import synthesize
    from datasets.shard_build import build_shards
    from prior.recipe import TrainRecipe

    recipe = load_config(TrainRecipe, path, overrides)
    size = max(recipe.capture.trained_shape(recipe.loader.image_size))
    cameras = max(recipe.model.encoder_views, recipe.loader.target_views, 4)
    rig = RigConfig(image_size=size, train_cameras=cameras, held_out_cameras=1)
    config = StageConfig(
        name="train_step", train_subjects=4, held_out_subjects=0, frames=6, held_out_frames=0, samples=4,
        full_on_samples=4, capture_held_out_cameras=False, rig=rig,
    )  # fmt: skip
    build_shards(synthesize(config, folder / "capture"), folder / "shards")
    return folder / "shards"


def _table(result: dict[str, Any]) -> Table:
    title = (
        f"{result['recipe']}: {result['step_ms']:.0f} ms a step, {100 * result['raymarch_share']:.0f} % of it in the "
        f"raymarcher, {100 * result['data_wait_share']:.1f} % waiting for data"
    )
    table = Table(title=title, caption="the lower rows are parts of forward and backward")
    for name in ("", "ms", "share"):
        table.add_column(name, justify="left" if not name else "right")
    for part in ("phases_ms", "kernels_ms"):
        for name, milliseconds in result[part].items():
            table.add_row(name, f"{milliseconds:.1f}", f"{100 * milliseconds / result['step_ms']:.1f} %")
        table.add_section()
    return table
