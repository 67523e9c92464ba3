"""A tiny capture laid out as Ava-256 lays out a person: Goliath's cameras and zips, with lens distortion."""

import json
from pathlib import Path

import numpy as np

from datasets.capture import Camera
from tests.datasets.readers import goliath_files, truth

LENS = np.array([-0.9, 1.5, 0.02, -0.03])
BENT = "400013"
SEGMENTS = {"EXP_neutral_peak": [12, 15], "EXP_Neutral_color_checker": [3], "SEN_the_dog": [40]}


def cameras(scale: int = 1) -> list[Camera]:
    width, height = goliath_files.SIZE
    return truth.ring(["400002", BENT], (scale * width, scale * height), spread=60.0)


def write(root: Path, *, kind: str = "png", scale: int = 1, shown: truth.Shown = truth.WAVES) -> Path:
    """The pictures and masks of camera ``BENT`` are bent as its lens does."""
    place = root / "m--20210223--1023--AVW368--GHS"
    files = goliath_files.GoliathFiles(place / "decoder", cameras(scale), np.zeros((0, 3)), truth.MILLIMETRES)
    for camera in files.cameras:
        seen = truth.behind_the_lens(camera, LENS) if camera.name == BENT else None
        numbers = [number for numbers in SEGMENTS.values() for number in numbers]
        pictures = {number: goliath_files.stored(shown.radiance(camera, number, seen)) for number in numbers}
        masks = {number: shown.mask(camera, number, seen) for number in numbers}
        goliath_files.write_camera(files.folder, camera, pictures, kind, masks)
    entries = [
        {**entry, "distortion": LENS.tolist() if entry["cameraId"] == BENT else [0.0] * 4}
        for entry in goliath_files.calibration(files)
    ]
    (files.folder / "camera_calibration.json").write_text(json.dumps({"KRT": entries}))
    rows = [f"{segment},{number:06d}" for segment, numbers in SEGMENTS.items() for number in numbers]
    (files.folder / "frame_list.csv").write_text("\n".join(["seg_id,frame_id", *rows]) + "\n")
    return place
