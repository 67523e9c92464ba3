"""A demo folder with numbers and pictures that were never computed, for reports."""

import json
from pathlib import Path

import numpy as np

from prior.pictures import write_picture
from tools.evaluate import LABELS
from tools.video import write_video

ODD_NAME = "<b>&p01"


def make_demo(folder: Path) -> Path:
    """Everything that a report shows, small."""
    row = {"psnr": 27.25, "ssim": 0.912, "mae255": 6.5}
    evaluation = {
        name: {**row, "images": 4, "mean_light": {**row, "psnr": 20.5}, "mean_image": {**row, "psnr": 18.5}}
        for name in LABELS
    }
    evaluation["expression_transfer"]["neutral"] = {**row, "psnr": 26.5}
    pose = {"rotation_degrees": 1.5, "translation_mm": 2.0, "still_rotation_degrees": 7.0, "still_translation_mm": 6.0}
    people = {name: {"tone": tone, **row} for name, tone in ((ODD_NAME, 0.2), ("p02", 0.8))}
    write_json(
        folder / "evaluation.json", {**evaluation, "mask_iou": 0.975, "subjects": people, "pose": {**pose, "frames": 9}}
    )
    write_json(folder / "timing.json", {"capture": 12.5, "train": 700.0, "report": 0.0, "total": 712.5})
    write_json(folder / "demo.json", {"options": {"quick": False, "head_model": "procedural"}})
    for name, views in (("one_image", ["cam00"]), ("three_images", ["cam00", "cam01", "cam02"])):
        make_fit(folder / "fit" / name, views)
    make_prior(folder / "prior")
    frames = [np.full((32, 64, 3), 10 * index, np.uint8) for index in range(8)]
    for name in ("interpolation", "relighting"):
        write_video(folder / "shows" / f"{name}.mp4", frames)
    write_picture(folder / "shows" / "transfer.png", noise(40, 80))
    return folder


def make_prior(folder: Path) -> None:
    rows = [
        {"step": step, "l1": 1.0 / step, "perceptual": 0.5, "kl": float(step), "seconds": 0.1}
        for step in range(20, 400, 20)
    ]
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 400, "l1"')
    (folder / "recipe.yaml").write_text("trainer:\n  steps: 400\n")
    write_json(folder / "versions.json", {"torch": "2.13.0"})
    for name in LABELS:
        write_picture(folder / "sheets" / f"{name}.png", noise(60, 90))
    for step in (100, 400):
        write_picture(folder / "previews" / f"step_{step:06d}.png", noise(50, 50))


def make_fit(folder: Path, views: list[str]) -> None:
    row = {"psnr": 22.0, "ssim": 0.8, "mae255": 9.0}
    measured = {**row, "images": 3, "mean_image": {**row, "psnr": 15.5}}
    kind = {"input_mae255": 5.5, **{name: measured for name in ("input", "novel_view", "relight", "expression")}}
    kinds = {name: kind for name in ("inversion_only", "finetuned", "finetuned_without_lr")}
    person = {"subject": "q00", "photos": views, "known_cameras": len(views) > 1, **kinds}
    write_json(folder / "fit.json", {**kinds, "subjects": {"q00": person, "q01": {**person, "subject": "q01"}}})
    write_picture(folder / "comparison.png", noise(40, 60))
    write_picture(folder / "subjects" / "q01" / "comparison.png", noise(40, 60))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
