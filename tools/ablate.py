"""``vrmm ablate``: train and evaluate variants of the model, and compare them in one table."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.console import console, progress_bar

CALIBRATION_STEPS = 60
COLUMNS = {
    "held_out_camera": "camera",
    "held_out_light": "light",
    "held_out_frame": "frame",
    "environment": "map",
    "expression_transfer": "transfer",
    "identity_interpolation": "half-way",
}
"""Categories of evaluation.json and their columns; all but the last two were held out of the training."""

CODES = {
    "identity_accuracy": "who",
    "light_direction_r2": "light",
    "expression_r2": "expr.",
    "expression_of_others_r2": "others",
    "identity_code_r2": "z_id",
}
"""Probes of evaluation.json's ``leakage`` and their columns."""


def ablate(
    config: Annotated[Path, typer.Argument(help="Recipe, for example configs/prior/demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes for all variants.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Training of the full model; the others get its steps.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Of full and without_consistency; the others get one.")] = 1,
    variants: Annotated[list[str] | None, typer.Option("--variant", help="One of them; default all.")] = None,
    only: Annotated[str | None, typer.Option(help="Train this run alone, for example without_kl_0.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; continues where it stands.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    lpips_weights: Annotated[Path | None, typer.Option(help="As of vrmm evaluate.")] = None,
) -> None:
    """Train the full model and variants that lack one thing each, and compare them with rendered truth.

    All variants are trained for the same number of steps. Run the same command again to continue.
    """
    from datasets.errors import VrmmError
    from datasets.files import atomic_write_json
    from prior.ablation import VARIANTS, collect, plan_ablation

    folder = out or Path("runs") / f"ablation_{config.stem}"
    runs = plan_ablation(variants or list(VARIANTS), seeds)
    names = [run.name for run in runs]
    if only is not None and only not in names:
        raise VrmmError(f"--only {only} is none of this table's runs: {', '.join(names)}")
    steps = _steps(config, overrides or [], folder, minutes)
    results = {}
    for number, run in enumerate(runs, start=1):
        if only in (None, run.name):
            console.print(f"[bold]{number}/{len(runs)} {run.name}, {steps} steps[/bold]")
            changes = [*(overrides or []), *run.overrides, f"trainer.steps={steps}"]
            results[run] = _train_and_evaluate(config, changes, folder / run.name, folder / "truth", lpips_weights)
    table = collect(results)
    console.print(ablation_table(table))
    console.print(codes_table(table))
    if only is None:
        atomic_write_json(folder / "ablation.json", table)
    if json is not None:
        atomic_write_json(json, table)


def ablation_table(table: dict[str, Any]) -> Table:
    """PSNR of every variant by category."""
    shown = Table(title="Held out, and expression transfer: PSNR in the head mask, dB")
    shown.add_column("", no_wrap=True)
    for name in (*COLUMNS.values(), "seeds"):
        shown.add_column(name, justify="right")
    for variant, row in table.items():
        values = [f"{row[name]['psnr']:.2f}" if name in row else "" for name in COLUMNS]
        shown.add_row(variant.replace("_", " "), *values, str(len(row["seeds"])))
    return shown


def codes_table(table: dict[str, Any]) -> Table:
    """How well expressions go from one person to another, and what linear probes read from the codes."""
    shown = Table(title="Transfer between people, MAE /255, and what linear probes read from the codes")
    shown.add_column("")
    for name in ("transfer", "neutral", *CODES.values()):
        shown.add_column(name, justify="right")
    for variant, row in table.items():
        transfer, probes = row.get("expression_transfer", {}), row.get("leakage", {})
        values = [part.get("mae255") for part in (transfer, transfer.get("neutral", {}))]
        values += [probes.get(name) for name in CODES]
        shown.add_row(variant.replace("_", " "), *["" if value is None else f"{value:.2f}" for value in values])
    shown.caption = (
        "transfer: one person's expression on another; neutral: the same without the expression. From z_e: who it is "
        "(share of frames), the light's direction, the expression, the expression of others than it was fitted to; "
        "from z_id: the expression (R²). Wanted are a low error, expr. and others high, the rest low"
    )
    return shown


def _steps(config: Path, overrides: list[str], folder: Path, minutes: float) -> int:
    """Steps that the full model makes in the time; measured once for a folder, then kept."""
    from datasets.files import atomic_write_json, read_json
    from prior.runfolder import read_metrics

    path = folder / "steps.json"
    with _waiting_for(folder / ".steps.lock"):  # jobs of an array start together
        if path.exists():
            return read_json(path, "the length of an ablation's runs")["steps"]
        console.print("[bold]measuring the speed of a step[/bold]")
        calibration = folder / "calibration"
        changes = [f"trainer.steps={CALIBRATION_STEPS}", "trainer.log_every=1", "trainer.preview_every=100000"]
        _train(config, [*overrides, *changes], calibration)
        seconds = [row["seconds"] for row in read_metrics(calibration)][CALIBRATION_STEPS // 10 :]
        steps = max(CALIBRATION_STEPS, round(60 * minutes * len(seconds) / sum(seconds)))
        atomic_write_json(path, {"minutes": minutes, "steps": steps})
        return steps


@contextlib.contextmanager
def _waiting_for(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _train_and_evaluate(
    config: Path, changes: list[str], run: Path, truth: Path, lpips_weights: Path | None
) -> dict[str, Any]:
    from datasets.files import read_json
    from prior.evaluate import evaluate
    from prior.evaluation.plan import EvaluationConfig

    if not (run / "evaluation.json").exists():
        _train(config, changes, run)
        with progress_bar(f"evaluating {run.name}") as report:
            evaluate(run, report, truth_folder=truth, config=EvaluationConfig(lpips_weights=str(lpips_weights or "")))
    return read_json(run / "evaluation.json", "an evaluation")


def _train(config: Path, changes: list[str], run: Path) -> None:
    from datasets.config import load_config
    from datasets.errors import VrmmError
    from prior.local_ranks import run_ranks
    from prior.recipe import TrainRecipe

    recipe = load_config(TrainRecipe, config, changes)
    recipe.check_ranks(recipe.trainer.ranks)
    status = run_ranks(["train", str(config), *changes, "--out", str(run)], recipe.trainer.ranks)
    if status:
        raise VrmmError(f"the training of {run} stopped with status {status}; see above and run the same again")
