"""A tiny capture laid out as IMavatar lays out its videos."""

from pathlib import Path

import numpy as np

from tests.datasets.readers_mono.scene import Scene, write_json, write_picture

SHAPE = np.linspace(-1.0, 1.0, 100)
_OPENGL = np.diag([1.0, -1.0, -1.0])


def write(root: Path, scenes: dict[str, Scene], *, subject: str = "yufeng", old: bool = False) -> Path:
    """``{root}/{subject}/{subject}/{video}``; returns the folder of the videos."""
    folder = root / subject / subject
    for video, scene in scenes.items():
        write_video(folder / video, scene, old=old)
    return folder


def write_video(folder: Path, scene: Scene, *, old: bool = False) -> None:
    """``old``: intrinsics in pixels of 512, as in the first files that were published."""
    fx, fy, cx, cy = index_intrinsics(scene)
    size = np.array([scene.width, scene.height, scene.width, scene.height])
    fractions = np.array([-fx, fy, cx, cy]) / size
    frames = []
    for frame in range(scene.frames):
        write_picture(folder / "image" / f"{frame + 1}.png", scene.stored(frame))
        write_picture(folder / "mask" / f"{frame + 1}.png", scene.mask(frame))
        frames.append(record(scene, frame))
    intrinsics = (fractions * 512 if old else fractions).tolist()
    value = {"frames": frames, "intrinsics": intrinsics, "shape_params": SHAPE.tolist()}
    write_json(folder / "flame_params.json", value)


def index_intrinsics(scene: Scene) -> tuple[float, ...]:
    """fx, fy, cx, cy with the first pixel's centre at (0, 0)."""
    matrix = scene.intrinsics
    return matrix[0, 0], matrix[1, 1], matrix[0, 2] - 0.5, matrix[1, 2] - 0.5


def record(scene: Scene, frame: int) -> dict:
    head = _OPENGL @ scene.head(frame)
    head[:, 3] *= 4.0  # FLAME is four times its size, so that the camera is four times as far
    return {
        "file_path": f"./image/{frame + 1}",
        "world_mat": head.tolist(),
        "expression": expression(frame).tolist(),
        "pose": pose(frame).tolist(),
        "bbox": (keypoints(scene, frame)[:2].ravel()).tolist(),
        "flame_keypoints": keypoints(scene, frame).tolist(),
    }


def expression(frame: int) -> np.ndarray:
    return 0.01 * frame + np.arange(50) / 50.0


def pose(frame: int) -> np.ndarray:
    return np.arange(15) / 10.0 - 0.1 * frame


def keypoints(scene: Scene, frame: int) -> np.ndarray:
    """[70, 2] in [-1, 1]; the first four are the known points."""
    many = np.random.default_rng(frame).uniform(10.0, 60.0, (70, 2))
    many[:4] = scene.pixels(frame) - 0.5
    return many / [scene.width, scene.height] * 2.0 - 1.0


def original_pixels(value: dict, frame: int, points: np.ndarray, scene: Scene) -> np.ndarray:
    """Where IMavatar's own rays meet the points of FLAME (metres): pixel numbers, the first centre at (0, 0)."""
    fx, fy, cx, cy = np.array(value["intrinsics"]) * [scene.width, scene.height, scene.width, scene.height]
    matrix = np.array(value["frames"][frame]["world_mat"])
    x, y, z = ((4.0 * points) @ matrix[:, :3].T + matrix[:, 3]).T
    assert (z < 0).all(), "rays leave along -z"
    return np.stack([fx * x / z + cx, fy * y / z + cy], axis=1)
