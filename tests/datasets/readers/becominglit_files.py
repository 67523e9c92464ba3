"""A tiny capture laid out as BecomingLit lays out a person."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from datasets.capture import Camera, Light
from tests.datasets.readers import truth

SIZE = 66, 96
SEQUENCES = {"EXP-1+smile": {5: 0, 6: 1, 7: 2}, "SEN-2_talk": {0: 2, 1: 0}}
"""Sequence → frame → light pattern."""
PATTERNS = [[[0, 3000], [1, 3000], [2, 3000]], [[1, 990]], [[0, 1980], [2, 660]]]
IDS = ["221501007", "222200036", "222200045"]


@dataclasses.dataclass
class BecomingLitFiles:
    folder: Path
    cameras: list[Camera]
    lamps: np.ndarray  # metres, our world
    world: truth.World

    def light(self, number: int) -> Light:
        """Our world; groups burn 1/0.66 as strong as they say."""
        pattern = {n: p for frames in SEQUENCES.values() for n, p in frames.items()}[number]
        lamps, durations = zip(*PATTERNS[pattern], strict=True)
        strength = np.array(durations)[:, None] / 3000.0 / (1.0 if pattern == 0 else 0.66)
        return Light(positions=self.lamps[list(lamps)], irradiance=np.repeat(strength, 3, axis=1))


def matrix(camera: Camera) -> np.ndarray:
    """A colour correction for each camera; not symmetric, so that a transposed one shows."""
    shift = IDS.index(camera.name) * 0.03
    return np.array([[1.1 + shift, -0.12, 0.02], [0.05, 0.9, 0.05 - shift], [-0.03, 0.1, 0.93]])


def stored(camera: Camera, linear: np.ndarray) -> np.ndarray:
    return truth.to_bytes(truth.srgb(linear @ np.linalg.inv(matrix(camera)).T))


def described(root: Path, *, scale: int = 1) -> BecomingLitFiles:
    """The truth; nothing is written. Pictures are ``scale`` times as wide as ``SIZE``."""
    ring = truth.ring(IDS, (scale * SIZE[0], scale * SIZE[1]), spread=90.0)
    cameras = [truth.with_lens(camera, ring[0].intrinsics) for camera in ring]  # one lens for all
    lamps = np.random.default_rng(5).normal(size=(3, 3)) + [0.0, 0.0, 1.0]
    return BecomingLitFiles(root / "1001", cameras, lamps, truth.Z_UP)


def write(root: Path, *, kind: str = "avif", scale: int = 1, shown: truth.Shown = truth.WAVES) -> BecomingLitFiles:
    files = described(root, scale=scale)
    cameras = files.cameras
    _write_calibration(files)
    for sequence, frames in SEQUENCES.items():
        folder = files.folder / "sequences" / sequence
        for camera in cameras:
            _write_pictures(folder, camera, frames, kind, shown)
        write_json(folder / "light_pattern_per_frame.json", [[n, pattern] for n, pattern in frames.items()])
    for other in ("CALIBRATION", "BACKGROUND"):  # no person in these
        _write_pictures(files.folder / "sequences" / other, cameras[0], {0: 0}, "png", truth.WAVES)
    return files


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _write_pictures(folder: Path, camera: Camera, frames: dict[int, int], kind: str, shown: truth.Shown) -> None:
    pictures, alphas = (folder / name / f"cam_{camera.name}" for name in ("images", "alpha_birefnet"))
    pictures.mkdir(parents=True)
    alphas.mkdir(parents=True)
    for number in frames:
        data = truth.picture_bytes(stored(camera, shown.radiance(camera, number)), kind)
        (pictures / f"frame_{number:06d}.{kind}").write_bytes(data)
        mask = truth.picture_bytes(truth.to_bytes(shown.mask(camera, number)), "jpg")
        (alphas / f"frame_{number:06d}.jpg").write_bytes(mask)


def _write_calibration(files: BecomingLitFiles) -> None:
    lens = files.cameras[0].intrinsics
    calibration = {
        "cam_data": {"fx": lens[0, 0], "fy": lens[1, 1], "cx": lens[0, 2], "cy": lens[1, 2]},
        "world_to_cam": {
            camera.name: [*files.world.world_to_camera(camera).tolist(), [0.0, 0.0, 0.0, 1.0]]
            for camera in files.cameras
        },
    }
    folder = files.folder / "calibration"
    write_json(folder / "camera_calibration.json", calibration)
    write_json(folder / "color_calibration.json", {camera.name: matrix(camera).tolist() for camera in files.cameras})
    metadata = {
        "light_positions": files.world.points(files.lamps).tolist(),
        "light_pattern": [{"light_index_durations": pattern} for pattern in PATTERNS],
    }
    write_json(folder / "light_pattern_metadata.json", metadata)
