"""One sheet a category: truth, model, four times the error, and what the category is compared with."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from prior.evaluation.answers import Answers
from prior.evaluation.plan import Category, Shot
from prior.pictures import Strip, draw_sheet, error_picture, to_picture, write_picture

TITLES = {
    Category.TRAINING_VIEW: "Training views",
    Category.HELD_OUT_CAMERA: "Cameras never trained on",
    Category.HELD_OUT_LIGHT: "Groups of lamps never trained on",
    Category.HELD_OUT_LAMP: "Lamps that never burnt alone",
    Category.HELD_OUT_FRAME: "Expressions never trained on",
    Category.ENVIRONMENT: "Environment maps",
    Category.EXPRESSION_TRANSFER: "Expression transfer",
    Category.IDENTITY_INTERPOLATION: "Half-way between two people",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A shot with its truth, its answers and its numbers.

    Attributes:
        shot: what was asked.
        truth: [3, H, W] linear radiance.
        mask: [1, H, W].
        answers: the pictures.
        metrics: of every answer by its name (``model``, ``mean_light``, …).
        source: of an expression transfer, the captured frame that the expression comes from.
    """

    shot: Shot
    truth: Float[Tensor, "3 H W"]
    mask: Float[Tensor, "1 H W"]
    answers: Answers
    metrics: dict[str, dict[str, float]]
    source: Float[Tensor, "3 H W"] | None = None


def write_sheet(folder: Path, category: Category, comparisons: Sequence[Comparison], examples: int) -> Path:
    """Write ``{category}.png`` with so many examples, evenly over the comparisons."""
    places = np.linspace(0, len(comparisons) - 1, min(examples, len(comparisons))).round().astype(int)
    strips = [_strip(comparisons[place]) for place in dict.fromkeys(places.tolist())]
    columns = ["truth", "model", "4x error", *_extra_columns(category)]
    across = 3 if len(columns) == 3 else 2
    path = Path(folder) / f"{category.value}.png"
    write_picture(path, draw_sheet(columns, strips, across=across, cell=144, title=TITLES[category]))
    return path


def _extra_columns(category: Category) -> list[str]:
    return {
        Category.HELD_OUT_LIGHT: ["given the mean light"],
        Category.HELD_OUT_LAMP: ["given the mean light"],
        Category.ENVIRONMENT: ["given the mean light"],
        Category.EXPRESSION_TRANSFER: ["neutral", "expression of"],
        Category.IDENTITY_INTERPOLATION: ["first alone"],
    }.get(category, [])


def _strip(comparison: Comparison) -> Strip:
    answers, shot = comparison.answers, comparison.shot
    pictures = [
        to_picture(comparison.truth),
        to_picture(answers.model),
        error_picture(answers.model, comparison.truth, comparison.mask),
    ]
    if shot.category in (Category.HELD_OUT_LIGHT, Category.HELD_OUT_LAMP, Category.ENVIRONMENT):
        pictures.append(to_picture(answers.mean_light))
    if answers.neutral is not None and comparison.source is not None:
        pictures += [to_picture(answers.neutral), to_picture(comparison.source)]
    if answers.first is not None:
        pictures.append(to_picture(answers.first))
    numbers = comparison.metrics["model"]
    who = f"{shot.subject}+{shot.other}" if shot.other else shot.subject
    caption = f"{numbers['psnr']:.1f} dB  SSIM {numbers['ssim']:.3f}  {who} {shot.camera.name} {shot.light_name}"
    return Strip(pictures=pictures, caption=caption)
