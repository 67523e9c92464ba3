"""What a report is made from: the files that a demo or a run has left, read as far as they are there."""

import dataclasses
from pathlib import Path
from typing import Any

from datasets.errors import VrmmError
from datasets.files import read_json
from prior.runfolder import read_metrics

FITS = ("one_image", "three_images")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """The parts of a run; those that are absent are empty.

    Attributes:
        folder: as given.
        prior: run folder of the training.
        is_demo: whether ``folder`` is that of a demo.
        metrics: rows of metrics.jsonl.
        evaluation, timing, book: contents of the JSON files.
        fits: fit.json by ``one_image`` and ``three_images``.
        recipe: text of recipe.yaml.
        versions: of the libraries.
    """

    folder: Path
    prior: Path
    is_demo: bool
    metrics: list[dict[str, Any]]
    evaluation: dict[str, Any]
    timing: dict[str, Any]
    book: dict[str, Any]
    fits: dict[str, dict[str, Any]]
    recipe: str
    versions: dict[str, str]


def read_material(folder: Path) -> Material:
    """Everything of a demo folder or a run folder.

    Raises:
        VrmmError: the folder is neither, or one of its files is damaged.
    """
    folder = Path(folder)
    is_demo = (folder / "demo.json").is_file()
    prior = folder / "prior" if is_demo else folder
    if not is_demo and not (prior / "model.json").is_file():
        raise VrmmError(f"{folder} is neither a demo nor a run folder: it holds no demo.json and no model.json")
    recipe = prior / "recipe.yaml"
    evaluation = _read(folder / "evaluation.json") or _read(prior / "evaluation.json")
    return Material(
        folder=folder,
        prior=prior,
        is_demo=is_demo,
        metrics=read_metrics(prior),
        evaluation=evaluation,
        timing=_read(folder / "timing.json"),
        book=_read(folder / "demo.json"),
        fits={name: content for name in FITS if (content := _read(folder / "fit" / name / "fit.json"))},
        recipe=recipe.read_text() if recipe.is_file() else "",
        versions=_read(prior / "versions.json"),
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "a part of the report") if path.is_file() else {}
