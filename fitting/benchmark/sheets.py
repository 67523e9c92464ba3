"""Picture sheets of the benchmark: one column for each set of photos beside the truth, and one for each stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fitting.benchmark.cases import Case
from fitting.stages import STAGES
from fitting.truth import Category
from prior.pictures import Strip, draw_sheet

CELL = 112
GAIN = 4
"""Errors are drawn so many times as bright."""
SHOWN = "finetuned"


def person_sheet(title: str, cases: Sequence[Case]) -> UInt8[np.ndarray, "H W 3"]:
    """Avatars from every set of photos: their first photo, and everything that no photo shows.

    Args:
        title: of the sheet.
        cases: of one person, done.
    """
    held = [(case.result()["rows"], *case.pictures()) for case in cases]
    strips = [_first_photo(held)]
    rows, truth, _ = held[0]
    new = [index for index, row in enumerate(rows) if row["category"] != Category.INPUT.value]
    for place, index in enumerate(new):
        pictures, numbers = [truth[index]], []
        for own, _, answers in held:
            own_index = [number for number, row in enumerate(own) if row["category"] != Category.INPUT.value][place]
            pictures.append(answers[SHOWN][own_index])
            numbers.append(f"{own[own_index][SHOWN]['psnr']:.1f}")
        strips.append(Strip(pictures=pictures, caption=f"{_words(rows[index])}: {'  '.join(numbers)} dB"))
    columns = ["truth", *(case.photo_set.value.replace("_", " ") for case in cases)]
    return draw_sheet(columns, strips, across=2, cell=CELL, title=title)


def stages_sheet(title: str, case: Case) -> UInt8[np.ndarray, "H W 3"]:
    """One avatar: truth, every stage, and the error of the finished one."""
    rows, (truth, answers) = case.result()["rows"], case.pictures()
    strips = []
    for index, row in enumerate(rows):
        error = np.abs(answers[SHOWN][index].astype(int) - truth[index]) * GAIN
        numbers = "  ".join(f"{row[stage]['psnr']:.1f}" for stage in STAGES)
        strips.append(
            Strip(
                pictures=[
                    truth[index],
                    *(answers[stage][index] for stage in STAGES),
                    np.clip(error, 0, 255).astype(np.uint8),
                ],
                caption=f"{_words(row)}: {numbers} dB",
            )
        )
    columns = ["truth", *STAGES.values(), f"{GAIN}x error"]
    return draw_sheet(columns, strips, across=2, cell=CELL, title=title)


def _first_photo(held: Sequence[tuple[list[dict[str, Any]], np.ndarray, Mapping[str, np.ndarray]]]) -> Strip:
    """The photo that all sets begin with."""
    pictures = [held[0][1][0], *(answers[SHOWN][0] for _, _, answers in held)]
    numbers = "  ".join(f"{rows[0][SHOWN]['psnr']:.1f}" for rows, _, _ in held)
    return Strip(pictures=pictures, caption=f"the first photo: {numbers} dB")


def _words(row: Mapping[str, Any]) -> str:
    words = [row["category"].replace("_", " "), row["camera"]]
    return ", ".join([*words, row["light"].replace("_", " ")] if row["light"] else words)
