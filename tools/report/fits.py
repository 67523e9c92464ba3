"""The section about personalization."""

import shlex
from typing import Any

from datasets.config import find_recipe, load_config, to_dict
from fitting.recipe import FitRecipe
from tools.report import html
from tools.report.material import Material

KINDS = {
    "inversion_only": "inversion alone",
    "finetuned_without_lr": "fine-tuned, no locality",
    "finetuned": "fine-tuned with locality",
}
SETS = {"one_image": "One photo", "three_images": "Three photos"}


def fit_parts(material: Material) -> list[str]:
    """Tables of fit.json and the comparisons of pictures; empty where there are no fits."""
    if not material.fits:
        return []
    intro = (
        "The model meets people it was never trained on. From one photo, with landmarks but without any camera, it "
        "finds identity, expression, light, pose and lens (inversion), then tunes its decoders to the photo while a "
        "copy of the prior holds everything else in place (locality). Wanted: from one photo at most 6/255 on the "
        "photo and novel views at least 3 dB above the mean training image; three photos better than one; fine-tuning "
        "with locality at least as good as inversion alone, and better than without it."
    )
    parts = [html.paragraph(intro), _table(material.fits)]
    for name, title in SETS.items():
        if name in material.fits:
            parts += [f"<h3>{html.text(title)}</h3>", html.figures(*_sheets(material, name))]
    return parts


def _table(fits: dict[str, dict[str, Any]]) -> str:
    head = ["", "input MAE /255", "novel views dB", "SSIM", "relit dB", "SSIM", "other expressions dB", "SSIM"]
    rows = []
    for name, title in SETS.items():
        if name not in fits:
            continue
        for kind, label in KINDS.items():
            row = fits[name][kind]
            cells = [f"<b>{row['input_mae255']:.2f}</b>"]
            for category in ("novel_view", "relight", "expression"):
                cells += [f"<b>{row[category]['psnr']:.2f}</b>", f"{row[category]['ssim']:.3f}"]
            rows.append([html.text(f"{title.lower()}, {label}"), *cells])
    rows += _mean_image_row(fits)
    people = ", ".join(next(iter(fits.values())).get("subjects", {}))
    return html.table(head, rows, f"Means over {people}. Mean image: of all training people in that camera.")


def _mean_image_row(fits: dict[str, dict[str, Any]]) -> list[list[str]]:
    row = next(iter(fits.values()))["finetuned"]
    if "mean_image" not in row["novel_view"]:
        return []
    cells = [f"{row['input']['mean_image']['mae255']:.2f}" if "mean_image" in row.get("input", {}) else ""]
    for category in ("novel_view", "relight", "expression"):
        cells += [f"{row[category]['mean_image']['psnr']:.2f}", f"{row[category]['mean_image']['ssim']:.3f}"]
    return [["mean training image", *cells]]


def _sheets(material: Material, name: str) -> list[str]:
    folder = material.folder / "fit" / name
    sheets = []
    for index, person in enumerate(material.fits[name].get("subjects", {})):
        path = (folder if index == 0 else folder / "subjects" / person) / "comparison.png"
        caption = (
            f"{person}: truth, inversion alone, fine-tuned, fine-tuned without locality, 4 × the error of the "
            "fine-tuned one, and the mean training image; the photo itself first, then new views, new light, new "
            "expressions."
        )
        sheets.append(html.figure(html.image(path, f"fits of {person}"), caption, wide=True))
    return sheets


def fit_commands(material: Material) -> list[str]:
    """``vrmm fit`` for the first person of each photo set."""
    lines = []
    for name, found in material.fits.items():
        person = next(iter(found["subjects"].values()))
        place = material.folder / "fit" / name
        photos = " ".join(f"{place}/photos/{person['subject']}_{camera}.png" for camera in person["photos"])
        known = f" --cameras {place}/photos/cameras.json" if person["known_cameras"] else ""
        lines.append(f"vrmm fit {photos}{known} --prior {material.prior} --out {place}/avatar")
    return lines


def avatar_commands(material: Material) -> list[str]:
    """The ``vrmm fit`` that made an avatar; one by an older vrmm does not remember where its photos were."""
    source = material.description.get("source")
    if not source:
        return []
    words = ["vrmm", "fit", *source["photos"], *_changes(material.description.get("recipe", {}))]
    if source["cameras"]:
        words += ["--cameras", source["cameras"]]
    return [shlex.join([*words, "--prior", source["prior"], "--out", str(material.folder)])]


def _changes(recipe: dict[str, Any]) -> list[str]:
    """``key=value`` for what differs from the default recipe."""
    usual = to_dict(load_config(FitRecipe, find_recipe("configs/fitting/default.yaml")))
    return [f"{key}={value}" for key, value in _flat(recipe) if (key, value) not in _flat(usual)]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return pairs
