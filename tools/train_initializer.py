"""``vrmm train-initializer``: a prior's own network for landmarks and start values."""

from pathlib import Path
from typing import Annotated

import typer

from tools.console import console, progress_bar

DEFAULT_RECIPE = Path("configs/fitting/initializer.yaml")
STEP = 20
"""Renderings that take as long as a step of the training: what the time left is told by."""


def train_initializer(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained prior; the network is kept in it.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes to the recipe.")] = None,
    recipe: Annotated[Path, typer.Option(help="Recipe of the initializer.")] = DEFAULT_RECIPE,
) -> None:
    """Train a network on renderings of the prior that finds landmarks and the start values of fits.

    It needs no pictures and no download. Run the same command again to continue after an interruption.
    """
    from datasets.config import load_config
    from fitting.initializer.recipe import InitializerRecipe
    from fitting.initializer.train import train_initializer as run_training

    config = load_config(InitializerRecipe, recipe, overrides or [])
    total = config.samples + STEP * config.steps
    with progress_bar(f"initializer of {run}") as report:
        found = run_training(
            run,
            config,
            lambda stage, done, _: report(done if stage == "rendering" else config.samples + STEP * done, total),
        )
    held_out, speed = found["held_out"], found["throughput"]
    console.print(
        f"{run}/initializer: landmarks within {100 * held_out['landmark_error']:.1f} % of the face, "
        f"pose within {held_out['rotation_degrees']:.1f}° on renderings never trained on"
    )
    console.print(
        f"{speed['renderings_per_second']:.0f} renderings and {speed['steps_per_second']:.1f} steps in a second"
    )
