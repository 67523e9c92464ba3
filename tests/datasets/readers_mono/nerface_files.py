"""A tiny capture laid out as NerFace lays out its videos."""

from pathlib import Path

import numpy as np

from tests.datasets.readers_mono.scene import Scene, write_json, write_picture

PARTS = {"train": [4, 0, 2], "val": [1], "test": [3]}
"""Part → frames of the scene, in the order in which the part counts them anew."""
UNITS = 0.31
"""Of the file in a metre: its camera is 0.5 away."""
_OPENGL = np.diag([1.0, -1.0, -1.0])
_MIRROR = np.diag([-1.0, 1.0, 1.0])


def write(folder: Path, scene: Scene, *, fx_sign: float = -1.0) -> Path:
    """A negative focal length is that of a left-handed world, as in the published files."""
    matrix = scene.intrinsics
    intrinsics = [
        fx_sign * matrix[0, 0],
        matrix[1, 1],
        (matrix[0, 2] - 0.5) / scene.width,
        (matrix[1, 2] - 0.5) / scene.height,
    ]
    for part, numbers in PARTS.items():
        frames = []
        for place, number in enumerate(numbers):
            write_picture(folder / part / f"f_{place:04d}.png", scene.stored(number))
            frames.append(record(scene, part, place, number, fx_sign))
        angle = 2.0 * np.arctan(scene.width / (2.0 * intrinsics[0]))
        value = {"camera_angle_x": angle, "frames": frames, "intrinsics": intrinsics}
        write_json(folder / f"transforms_{part}.json", value)
    return folder


def record(scene: Scene, part: str, place: int, number: int, fx_sign: float) -> dict:
    camera_to_head = np.linalg.inv(in_their_axes(scene, number, fx_sign))
    return {
        "file_path": f"./{part}/f_{place:04d}",
        "bbox": box(scene, number).tolist(),
        "transform_matrix": camera_to_head.tolist(),
        "expression": expression(number).tolist(),
    }


def in_their_axes(scene: Scene, number: int, fx_sign: float) -> np.ndarray:
    """[4, 4] their head, which is mirrored with a negative focal length, to their camera, whose x is turned then."""
    head = _OPENGL @ scene.head(number)
    if fx_sign < 0.0:
        head = _MIRROR @ head
        head[:, :3] = head[:, :3] @ _MIRROR
    head[:, 3] *= UNITS
    return np.concatenate([head, [[0.0, 0.0, 0.0, 1.0]]])


def box(scene: Scene, number: int) -> np.ndarray:
    """Top, bottom, left, right of a face of 15 cm, 15 % wider on both sides: fractions of the picture."""
    u, v = scene.pixels(number, np.zeros((1, 3)))[0]
    distance = scene.in_camera(number, np.zeros((1, 3)))[0, 2]
    half = 0.5 * 0.15 * 1.3 * scene.intrinsics[0, 0] / distance
    box = np.array([v - 20.0, v + 25.0, u - half, u + half])
    return box / [scene.height, scene.height, scene.width, scene.width]


def expression(number: int) -> np.ndarray:
    return np.arange(76) / 76.0 + 0.02 * number


def original_pixels(value: dict, place: int, points: np.ndarray, scene: Scene) -> np.ndarray:
    """Where NerFace's own rays meet points of its world: pixel numbers, the first centre at (0, 0)."""
    fx, fy, cx, cy = value["intrinsics"]
    to_camera = np.linalg.inv(np.array(value["frames"][place]["transform_matrix"]))
    x, y, z = (points @ to_camera[:3, :3].T + to_camera[:3, 3]).T
    assert (z < 0).all(), "rays leave along -z"
    return np.stack([fx * x / -z + cx * scene.width, -fy * y / -z + cy * scene.height], axis=1)
