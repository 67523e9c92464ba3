"""A tiny export of VHAP: two cameras that stand still, FLAME that moves, a file for each picture."""

from pathlib import Path

import numpy as np

from tests.datasets.readers_mono.scene import Scene, write_json, write_picture

CAMERAS = {"222200036": 0, "222200037": 1}
"""Name → the frame of the scene whose head stands for the world as that camera sees it."""
TIMES = 3
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write(folder: Path, scene: Scene) -> Path:
    """The second camera is for validation, the last timestep for testing."""
    parts = {"train": [], "val": [], "test": []}
    for time in range(TIMES):
        for number, name in enumerate(CAMERAS):
            part = "test" if time == TIMES - 1 else "train" if number == 0 else "val"
            parts[part].append(record(scene, time, number, name))
            write_picture(folder / f"images/{time:05d}_{number:02d}.png", scene.stored(CAMERAS[name]))
            write_picture(folder / f"fg_masks/{time:05d}_{number:02d}.png", scene.mask(CAMERAS[name]))
        write_parameters(folder / f"flame_param/{time:05d}.npz", parameters(time))
    every = [entry for part in parts.values() for entry in part]
    for name, frames in (("", every), *((f"_{part}", frames) for part, frames in parts.items())):
        indices = sorted({entry["timestep_index"] for entry in frames})
        write_json(folder / f"transforms{name}.json", {"frames": frames, "timestep_indices": indices})
    return folder


def record(scene: Scene, time: int, number: int, name: str) -> dict:
    matrix = scene.intrinsics
    world_to_camera = np.concatenate([scene.head(CAMERAS[name]), [[0.0, 0.0, 0.0, 1.0]]])
    return {
        "timestep_index": time,
        "timestep_index_original": 10 * time,
        "timestep_id": f"frame_{10 * time:05d}",
        "camera_index": number,
        "camera_id": name,
        "cx": matrix[0, 2],
        "cy": matrix[1, 2],
        "fl_x": matrix[0, 0],
        "fl_y": matrix[1, 1],
        "h": scene.height,
        "w": scene.width,
        "transform_matrix": np.linalg.inv(_OPENGL @ world_to_camera).tolist(),
        "file_path": f"images/{time:05d}_{number:02d}.png",
        "fg_mask_path": f"fg_masks/{time:05d}_{number:02d}.png",
        "flame_param_path": f"flame_param/{time:05d}.npz",
    }


def parameters(time: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(time)
    return {
        "translation": random.normal(size=(1, 3)),
        "rotation": random.normal(size=(1, 3)),
        "neck_pose": random.normal(size=(1, 3)),
        "jaw_pose": random.normal(size=(1, 3)),
        "eyes_pose": random.normal(size=(1, 6)),
        "shape": random.normal(size=300),
        "expr": random.normal(size=(1, 100)),
        "static_offset": random.normal(size=(1, 7, 3)),
    }


def write_parameters(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
