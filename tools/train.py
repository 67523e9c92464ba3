"""``vrmm train``: train the prior."""

from pathlib import Path
from typing import Annotated

import typer

from tools.console import console, progress_bar


def train(
    config: Annotated[Path, typer.Argument(help="Recipe, for example configs/prior/demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes to the recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; continues where it stands.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what a step costs, and train nothing.")] = False,
    json: Annotated[Path | None, typer.Option(help="With --plan: write the numbers to this file, too.")] = None,
) -> None:
    """Train VRMM on shards. Run the same command again to continue after an interruption.

    Starts ``trainer.ranks`` processes itself, or takes part in those of torchrun, DeepSpeed or Slurm.
    """
    from datasets.config import load_config
    from prior.distributed import Ranks
    from prior.recipe import TrainRecipe

    recipe = load_config(TrainRecipe, config, overrides or [])
    if plan:
        _plan(recipe, config, json)
        return
    folder = out or Path("runs") / config.stem
    ranks = Ranks.from_environment()
    if ranks is None and recipe.trainer.ranks > 1:
        _start_ranks(config, overrides or [], folder, recipe)
        return
    _train(recipe, folder, ranks or Ranks.alone())


def _start_ranks(config: Path, overrides: list[str], folder: Path, recipe) -> None:
    from prior.local_ranks import run_ranks

    recipe.check_ranks(recipe.trainer.ranks)
    status = run_ranks(["train", str(config), *overrides, "--out", str(folder)], recipe.trainer.ranks)
    if status:
        raise typer.Exit(status)


def _train(recipe, folder: Path, ranks) -> None:
    from prior.trainer import is_complete, train

    if is_complete(folder, recipe.trainer.steps):
        console.print(f"{folder} is complete: {recipe.trainer.steps} steps")
        return
    with progress_bar(f"training {folder}") as report:
        train(recipe, folder, ranks, lambda step, steps, values: report(step, steps))
    if ranks.rank == 0:
        console.print(f"weights and metrics are in {folder}")


def _plan(recipe, config: Path, json: Path | None) -> None:
    from datasets.files import atomic_write_json
    from prior.plan import plan_training
    from tools.plan_tables import plan_tables

    plan = plan_training(recipe)
    for table in plan_tables(plan, config.name):
        console.print(table)
    if json is not None:
        atomic_write_json(json, plan.to_json())
