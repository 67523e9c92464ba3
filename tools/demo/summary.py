"""The few numbers that a demo ends with."""

from pathlib import Path

from rich.table import Table

from datasets.files import read_json
from tools.console import console
from tools.evaluate import evaluation_table


def print_summary(folder: Path) -> None:
    """Tables of evaluation.json and fit.json, the time, and where the report is."""
    console.print(evaluation_table(read_json(folder / "evaluation.json", "the evaluation of a demo")))
    console.print(fit_table(folder))
    total = read_json(folder / "timing.json", "the times of a demo")["total"]
    console.print(f"{total / 60:.1f} minutes in all; open {folder / 'report.html'}", soft_wrap=True)


def fit_table(folder: Path) -> Table:
    """What was reached on people never trained on."""
    table = Table(title="People never trained on, means over them")
    table.add_column("")
    for name in ("input MAE /255", "novel views dB", "relit dB", "other expressions dB", "mean image dB"):
        table.add_column(name, justify="right")
    for photos, label in (("one_image", "one photo"), ("three_images", "three photos")):
        found = read_json(folder / "fit" / photos / "fit.json", "the fits of a demo")
        for kind in ("inversion_only", "finetuned_without_lr", "finetuned"):
            row = found[kind]
            cells = [f"{row[name]['psnr']:.2f}" for name in ("novel_view", "relight", "expression")]
            mean = f"{row['novel_view']['mean_image']['psnr']:.1f}" if "mean_image" in row["novel_view"] else ""
            table.add_row(f"{label}, {kind.replace('_', ' ')}", f"{row['input_mae255']:.2f}", *cells, mean)
    return table
