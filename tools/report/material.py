"""What a report is made from: the files that a demo, a run or a fit has left, read as far as they are there."""

import dataclasses
from pathlib import Path
from typing import Any

from datasets.errors import VrmmError
from datasets.files import read_json
from fitting.avatar import DESCRIPTION, read_description
from prior.runfolder import read_metrics

FITS = ("one_image", "three_images")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """The parts of a run; those that are absent are empty.

    Attributes:
        folder: as given.
        prior: run folder of the training.
        is_demo, is_avatar: what ``folder`` is; a run if neither.
        shows: folder of its videos and sheets.
        metrics: rows of metrics.jsonl.
        evaluation, timing, book: contents of the JSON files.
        fits: fit.json of a demo by ``one_image`` and ``three_images``.
        avatar, description: fit.json and avatar.json of an avatar.
        subjects: how many people a run knows.
        recipe: text of recipe.yaml.
        versions: of the libraries.
    """

    folder: Path
    prior: Path
    is_demo: bool
    is_avatar: bool
    shows: Path
    metrics: list[dict[str, Any]]
    evaluation: dict[str, Any]
    timing: dict[str, Any]
    book: dict[str, Any]
    fits: dict[str, dict[str, Any]]
    avatar: dict[str, Any]
    description: dict[str, Any]
    subjects: int
    recipe: str
    versions: dict[str, str]


def read_material(folder: Path) -> Material:
    """Everything of the folder of a demo, a run or an avatar.

    Raises:
        VrmmError: the folder is none of them, of another version, or one of its files is damaged.
    """
    folder = Path(folder)
    is_avatar = (folder / DESCRIPTION).is_file()
    description = read_description(folder) if is_avatar else {}
    is_demo = (folder / "demo.json").is_file()
    prior = folder / "prior" if is_demo else folder
    if not is_demo and not (prior / "model.json").is_file():
        raise VrmmError(
            f"{folder} is neither a demo nor a run folder nor an avatar: it holds no demo.json and no model.json"
        )
    recipe = prior / "recipe.yaml"
    evaluation = _read(folder / "evaluation.json") or _read(prior / "evaluation.json")
    return Material(
        folder=folder,
        prior=prior,
        is_demo=is_demo,
        is_avatar=is_avatar,
        shows=folder / "shows",
        metrics=read_metrics(prior),
        evaluation=evaluation,
        timing=_read(folder / "timing.json"),
        book=_read(folder / "demo.json"),
        fits={name: content for name in FITS if (content := _read(folder / "fit" / name / "fit.json"))},
        avatar=_read(folder / "fit.json") if is_avatar else {},
        description=description,
        subjects=len(_read(prior / "model.json").get("subjects", [])),
        recipe=recipe.read_text() if recipe.is_file() else "",
        versions=description.get("libraries", {}) if is_avatar else _read(prior / "versions.json"),
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "a part of the report") if path.is_file() else {}
