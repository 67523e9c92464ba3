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
    "identity_interpolation": "half-way identities",
}
"""Categories of evaluation.json, in the words of tables."""

BASELINES = {
    "mean_light": "mean light",
    "mean_image": "mean image",
    "neutral": "neutral",
    "first": "first alone",
}
"""What a category is compared with, and its column."""


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of vrmm train.")],
    shards: Annotated[Path | None, typer.Option(help="Its training data, if they have moved.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that render truth.")] = 2,
    lpips_weights: Annotated[
        Path | None, typer.Option(help="File or folder with AlexNet and the heads of LPIPS; without it no LPIPS.")
    ] = None,
) -> None:
    """Compare a trained model with clean renderings; writes RUN/evaluation.json and RUN/sheets/."""
    import torch

    from prior.evaluate import evaluate as compare
    from prior.evaluation.plan import EvaluationConfig

    config = EvaluationConfig(lpips_weights=str(lpips_weights or ""))
    torch.set_num_threads(max(1, processes))
    with progress_bar(f"evaluating {run}") as report:
        result = compare(run, report, config=config, shards=shards, processes=processes)
    console.print(evaluation_table(result))
    if lpips_weights is None:
        console.print("without LPIPS, as --lpips-weights names no weights")
    console.print(f"sheets of pictures are in {run / 'sheets'}")


def evaluation_table(result: dict[str, Any]) -> Table:
    """evaluation.json as a table: the model, and what it has to beat."""
    table = Table(title="Inside the head mask, after display encoding (what is to be beaten: dB)")
    table.add_column("", min_width=11)
    rows = {label: result[category] for category, label in LABELS.items() if category in result}
    learned = any("lpips" in row for row in rows.values())
    baselines = [name for name in BASELINES if any(name in row for row in rows.values())]
    for name in (
        "PSNR dB",
        "SSIM",
        "MAE /255",
        *(["LPIPS"] if learned else []),
        *map(BASELINES.__getitem__, baselines),
    ):
        table.add_column(name, justify="right")
    for label, row in rows.items():
        numbers = [f"{row['psnr']:.2f}", f"{row['ssim']:.3f}", f"{row['mae255']:.2f}"]
        numbers += [f"{row['lpips']:.3f}" if "lpips" in row else ""] if learned else []
        table.add_row(label, *numbers, *[f"{row[name]['psnr']:.1f}" if name in row else "" for name in baselines])
    table.caption = "\n".join([_pose_words(result), *code_words(result)])
    return table


def _pose_words(result: dict[str, Any]) -> str:
    pose = result["pose"]
    return (
        f"mask IoU {result['mask_iou']:.3f}; head pose within {pose['rotation_degrees']:.1f}° and "
        f"{pose['translation_mm']:.1f} mm (never moving: {pose['still_rotation_degrees']:.1f}° and "
        f"{pose['still_translation_mm']:.1f} mm)"
    )


def code_words(result: dict[str, Any]) -> list[str]:
    """Sentences about what the codes hold and how much the primitives tremble, where evaluation.json says it."""
    words = []
    if found := result.get("leakage"):
        words.append(
            f"A linear probe reads from the expression code: identity {found['identity_accuracy']:.0%} (from the true "
            f"expression {found['identity_accuracy_of_truth']:.0%}, chance {found['identity_chance']:.0%}), "
            f"light direction R² {found['light_direction_r2']:.2f}, expression R² {found['expression_r2']:.2f} "
            f"(of new people {found['expression_of_others_r2']:.2f}); "
            f"from the identity code: expression R² {found['identity_code_r2']:.2f}."
        )
    if found := result.get("jitter"):
        words.append(
            f"The primitives' second difference from frame to frame is {found['primitive_mm']:.2f} mm, that of the "
            f"true surface {found['true_mm']:.2f} mm."
        )
    return words
