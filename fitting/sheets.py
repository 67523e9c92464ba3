"""Pictures of a fit against truth: one sheet a category."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fitting.truth import Category, FitComparison
from prior.pictures import Strip, draw_sheet, error_picture, to_picture, write_picture

TITLES = {
    Category.INPUT: "The photos",
    Category.NOVEL_VIEW: "Views that were not given",
    Category.RELIGHT: "New light",
    Category.EXPRESSION: "Expressions of other people",
}


def write_fit_sheets(folder: Path, comparisons: Sequence[FitComparison], examples: int = 8) -> list[Path]:
    """Write ``{category}.png`` with at most so many examples each: truth, every stage, the last one's error.

    Returns:
        The files, in the order of the categories.
    """
    paths = []
    for category in Category:
        chosen = [row for row in comparisons if row.shot.category is category]
        if not chosen:
            continue
        places = np.linspace(0, len(chosen) - 1, min(examples, len(chosen))).round().astype(int)
        strips = [_strip(chosen[place]) for place in dict.fromkeys(places.tolist())]
        columns = ["truth", *(name.replace("_", " ") for name in chosen[0].answers), "4 × error of finetuned"]
        sheet = draw_sheet(columns, strips, across=1, cell=144, title=TITLES[category])
        path = Path(folder) / f"{category.value}.png"
        write_picture(path, sheet)
        paths.append(path)
    return paths


def _strip(row: FitComparison) -> Strip:
    best = row.answers.get("finetuned", next(iter(row.answers.values())))
    numbers = "  ".join(f"{name} {values['psnr']:.1f} dB" for name, values in row.metrics.items())
    return Strip(
        pictures=[
            to_picture(row.truth),
            *(to_picture(image) for image in row.answers.values()),
            error_picture(best, row.truth, row.mask),
        ],
        caption=f"{row.shot.camera.name}  {numbers}",
    )
