"""``vrmm evaluate``: a trained model against rendered truth."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.console import console, progress_bar

LABELS = {
    "training_view": "training views",
    "held_out_camera": "held-out cameras",
    "held_out_light": "held-out lights",
    "held_out_lamp": "held-out single lamps",
    "held_out_frame": "held-out frames",
    "environment": "environment maps",
    "expression_transfer": "expression transfer",
}
"""Categories of evaluation.json, in the words of tables."""


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of vrmm train.")],
    shards: Annotated[Path | None, typer.Option(help="Its training data, if they have moved.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that render truth.")] = 2,
) -> None:
    """Compare a trained model with clean renderings; writes RUN/evaluation.json and RUN/sheets/."""
    import torch

    from prior.evaluate import evaluate as compare

    torch.set_num_threads(max(1, processes))
    with progress_bar(f"evaluating {run}") as report:
        result = compare(run, report, shards=shards, processes=processes)
    console.print(evaluation_table(result))
    console.print(f"sheets of pictures are in {run / 'sheets'}")


def evaluation_table(result: dict[str, Any]) -> Table:
    """evaluation.json as a table: the model, and what it has to beat."""
    table = Table(title="Inside the head mask, after display encoding")
    table.add_column("")
    for name in ("PSNR dB", "SSIM", "MAE /255", "mean light dB", "mean image dB", "neutral dB"):
        table.add_column(name, justify="right")
    for category, label in LABELS.items():
        if category in result:
            table.add_row(label, *_cells(result[category]))
    table.caption = _caption(result)
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    baselines = [f"{row[name]['psnr']:.1f}" if name in row else "" for name in ("mean_light", "mean_image", "neutral")]
    return [f"{row['psnr']:.2f}", f"{row['ssim']:.3f}", f"{row['mae255']:.2f}", *baselines]


def _caption(result: dict[str, Any]) -> str:
    pose = result["pose"]
    return (
        f"mask IoU {result['mask_iou']:.3f}; head pose within {pose['rotation_degrees']:.1f}° and "
        f"{pose['translation_mm']:.1f} mm (never moving: {pose['still_rotation_degrees']:.1f}° and "
        f"{pose['still_translation_mm']:.1f} mm)"
    )
