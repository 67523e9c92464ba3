"""A tiny capture laid out as INSTA lays out its videos."""

from pathlib import Path

import numpy as np

from tests.datasets.readers_mono.scene import POINTS, Scene, write_json, write_picture


def write(folder: Path, scene: Scene) -> Path:
    """The last two frames are tests, the last one is for validation, too; frames are listed in any order."""
    frames = [record(scene, frame) for frame in (3, 0, 4, 1, 2)]
    for frame in range(scene.frames):
        write_picture(folder / "images" / f"{frame:05d}.png", scene.rgba(frame))
        write_text(folder / "flame" / "exp" / f"{frame:05d}.txt", "\n".join(f"{x:.8f}" for x in expression(frame)))
        write_text(folder / "meshes" / f"{frame:05d}.obj", mesh(frame))
    for name, part in (("", frames), ("_train", frames[:3]), ("_test", frames[3:]), ("_val", frames[4:])):
        write_json(folder / f"transforms{name}.json", {**shared(scene), "frames": part})
    return folder


def shared(scene: Scene) -> dict:
    matrix = scene.intrinsics
    return {
        "w": float(scene.width),
        "h": float(scene.height),
        "cx": matrix[0, 2],
        "cy": matrix[1, 2],
        "fl_x": matrix[0, 0],
        "fl_y": matrix[1, 1],
        "camera_angle_x": 2.0 * np.arctan(scene.width / (2.0 * matrix[0, 0])),
        "integer_depth_scale": 0.001,
    }


def record(scene: Scene, frame: int) -> dict:
    name = f"{frame:05d}"
    return {
        "transform_matrix": camera_to_head(scene, frame).tolist(),
        "file_path": f"images/{name}.png",
        "mesh_path": f"meshes/{name}.obj",
        "exp_path": f"flame/exp/{name}.txt",
        "depth_path": f"depth/{name}.png",
        "seg_mask_path": f"seg_mask/{name}.png",
    }


def camera_to_head(scene: Scene, frame: int) -> np.ndarray:
    return np.linalg.inv(np.concatenate([scene.head(frame), [[0.0, 0.0, 0.0, 1.0]]]))


def expression(frame: int) -> np.ndarray:
    return np.arange(100) / 100.0 - 0.05 * frame


def mesh(frame: int) -> str:
    """The known points, moved a little in every frame, as trimesh writes them."""
    rows = [f"v {x:.8f} {y:.8f} {z:.8f}" for x, y, z in vertices(frame)]
    return "\n".join(["# https://github.com/mikedh/trimesh", *rows, "vt 0.1 0.2", "vn 0 0 1", "f 1 2 3", "f 2 3 4"])


def vertices(frame: int) -> np.ndarray:
    return POINTS + 0.001 * frame


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def original_pixels(document: dict, record: dict, points: np.ndarray) -> np.ndarray:
    """Where INSTA's rays, through (x + 0.5) / width, meet points of the head: pixel numbers."""
    to_camera = np.linalg.inv(np.array(record["transform_matrix"]))
    x, y, z = (points @ to_camera[:3, :3].T + to_camera[:3, 3]).T
    assert (z > 0).all(), "rays leave along +z"
    middle = np.array([document["cx"] / document["w"], document["cy"] / document["h"]])
    focal = np.array([document["fl_x"], document["fl_y"]])
    size = np.array([document["w"], document["h"]])
    return (np.stack([x / z, y / z], axis=1) * focal / size + middle) * size - 0.5
