"""A tiny capture laid out as Multiface lays out a session."""

import dataclasses
from pathlib import Path

import numpy as np

from datasets.capture import Camera
from tests.datasets.readers import truth

SIZE = 83, 128  # of 1334x2048
EXPRESSIONS = {"E001_Neutral_Eyes_Open": [102, 105, 111], "SEN_you.re_boiling_milk": [7]}
DISTORTION = {"400002": np.zeros(5), "400013": np.array([-0.9, 1.5, 0.02, -0.03, 0.5])}
HEAD_AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


@dataclasses.dataclass
class MultifaceFiles:
    folder: Path
    cameras: list[Camera]
    world: truth.World


def lens(camera: Camera) -> np.ndarray:
    return DISTORTION.get(camera.name, np.zeros(5))


def stored(camera: Camera, number: int, shown: truth.Shown = truth.WAVES) -> np.ndarray:
    seen = truth.behind_the_lens(camera, lens(camera)) if lens(camera).any() else None
    return truth.to_bytes(truth.srgb(shown.radiance(camera, number, seen)))


def described(root: Path, *, scale: int = 1) -> MultifaceFiles:
    """The truth; nothing is written. Pictures are ``scale`` times as wide as ``SIZE``."""
    cameras = truth.ring(["400002", "400013", "400070"], (scale * SIZE[0], scale * SIZE[1]))
    return MultifaceFiles(root / "m--20180227--0000--6795937--GHS", cameras, truth.MILLIMETRES)


def write(root: Path, *, scale: int = 1, shown: truth.Shown = truth.WAVES) -> MultifaceFiles:
    files = described(root, scale=scale)
    folder = files.folder
    folder.mkdir(parents=True)
    absent = dataclasses.replace(files.cameras[1], name="400999")
    (folder / "KRT").write_text("".join(_block(files, camera) for camera in [*files.cameras, absent]))
    lines = [f"{name} {number:06d}" for name, numbers in EXPRESSIONS.items() for number in numbers]
    (folder / "frame_list.txt").write_text("\n".join([*lines, "E002_Swallow 000300"]) + "\n")
    for name, numbers in EXPRESSIONS.items():
        poses = folder / "tracked_mesh" / name
        poses.mkdir(parents=True)
        for number in numbers:
            matrix = files.world.head_to_world(np.eye(3), np.array([0.0, 0.001 * number, 0.0]), HEAD_AXES)
            np.savetxt(poses / f"{number:06d}_transform.txt", matrix)
        for camera in files.cameras:
            place = folder / "images" / name / camera.name
            place.mkdir(parents=True)
            for number in numbers:
                data = truth.picture_bytes(stored(camera, number, shown), "png")
                (place / f"{number:06d}.png").write_bytes(data)
    return files


def _block(files: MultifaceFiles, camera: Camera) -> str:
    intrinsics = np.diag([1334 / camera.width, 2048 / camera.height, 1.0]) @ camera.intrinsics
    intrinsics[:2, 2] -= 0.5
    rows = [*intrinsics, lens(camera), *files.world.world_to_camera(camera)]
    return "\n".join([camera.name, *(" ".join(repr(float(v)) for v in row) for row in rows)]) + "\n\n"
