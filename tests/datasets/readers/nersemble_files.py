"""A tiny capture laid out as NeRSemble v2 lays out a person: videos, one lens for all, a colour matrix for each."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from datasets.capture import Camera
from tests.datasets.readers import truth
from tests.datasets.readers_mono.video_files import BT709, write_video

SIZE = 110, 160  # of 2200x3208
IDS = ["220700191", "221501007", "222200036"]
SEQUENCES = {"EMO-1-shout+laugh": 5, "SEN-01-cramp_small_danger": 2}
"""Sequence → frames of its videos."""
SHORT = "222200036"
"""A camera that stopped one frame early in the first sequence."""


@dataclasses.dataclass
class NeRSembleFiles:
    folder: Path
    cameras: list[Camera]
    world: truth.World


def matrix(camera: Camera) -> np.ndarray:
    """Not symmetric, so that a transposed one shows, and other for every camera."""
    shift = IDS.index(camera.name) * 0.03
    return np.array([[1.1 - shift, 0.0, 0.05], [0.02, 0.75, 0.0], [0.0, 0.06, 0.8 + shift]])


def number_of(sequence: str, frame: int) -> int:
    """What ``truth.Shown`` calls a frame of a sequence."""
    return 10 * list(SEQUENCES).index(sequence) + frame


def stored(camera: Camera, linear: np.ndarray) -> np.ndarray:
    return truth.to_bytes(truth.srgb(linear @ np.linalg.inv(matrix(camera)).T))


def described(root: Path, *, scale: int = 1) -> NeRSembleFiles:
    """The truth; nothing is written. Pictures are ``scale`` times as wide as ``SIZE``."""
    ring = truth.ring(IDS, (scale * SIZE[0], scale * SIZE[1]), spread=90.0)
    cameras = [truth.with_lens(camera, ring[0].intrinsics) for camera in ring]
    return NeRSembleFiles(root / "018", cameras, truth.Z_UP)


def write(root: Path, *, scale: int = 1, shown: truth.Shown = truth.WAVES) -> NeRSembleFiles:
    files = described(root, scale=scale)
    _write_calibration(files)
    for sequence, frames in SEQUENCES.items():
        for camera in files.cameras:
            early = camera.name == SHORT and sequence == next(iter(SEQUENCES))
            pictures = [
                stored(camera, shown.radiance(camera, number_of(sequence, frame))) for frame in range(frames - early)
            ]
            write_camera(files.folder / "sequences" / sequence, camera.name, pictures)
    background = files.folder / "sequences" / "BACKGROUND"
    background.mkdir()
    for camera in files.cameras:
        picture = truth.picture_bytes(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), "jpg")
        (background / f"image_{camera.name}.jpg").write_bytes(picture)
    return files


def write_camera(sequence: Path, name: str, pictures: list[np.ndarray]) -> None:
    """Two frames of every four refer to later ones, as in what video cameras write."""
    write_video(sequence / "images" / f"cam_{name}.mp4", pictures.__getitem__, len(pictures), matrix=BT709)


def _write_calibration(files: NeRSembleFiles) -> None:
    lens = np.diag([2200 / files.cameras[0].width, 3208 / files.cameras[0].height, 1.0]) @ files.cameras[0].intrinsics
    poses = {c.name: [*files.world.world_to_camera(c).tolist(), [0.0, 0.0, 0.0, 1.0]] for c in files.cameras}
    absent = {"222200049": poses[IDS[1]]}  # calibrated, but nobody downloaded its videos
    folder = files.folder / "calibration"
    folder.mkdir(parents=True)
    write_json(folder / "camera_params.json", {"world_2_cam": {**poses, **absent}, "intrinsics": lens.tolist()})
    colours = {camera.name: matrix(camera).tolist() for camera in files.cameras}
    write_json(folder / "color_calibration.json", {**colours, "222200049": np.eye(3).tolist()})


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
