"""Known cameras of photos: one JSON file, ``{photo name: Camera.to_json()}``."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoCamera:
    """What is known about the camera of a photo (conventions in ``datasets.capture``).

    Attributes:
        intrinsics: [3, 3] pixels of the upright photo, first pixel centre at (0.5, 0.5), no lens distortion.
        width, height: of that photo, pixels.
        world_to_camera: [3, 4] metres where the camera's place is known, else None. The world is the one of all
            photos in the file.
    """

    intrinsics: Float[np.ndarray, "3 3"]
    width: int
    height: int
    world_to_camera: Float[np.ndarray, "3 4"] | None

    def to_json(self) -> dict[str, Any]:
        place = None if self.world_to_camera is None else self.world_to_camera.tolist()
        return {
            "intrinsics": self.intrinsics.tolist(),
            "width": self.width,
            "height": self.height,
            "world_to_camera": place,
        }


def read_camera_file(path: Path) -> dict[str, PhotoCamera]:
    """Cameras by photo name.

    ``world_to_camera`` may be null or absent where only the lens is known, but then for all photos.

    Raises:
        VrmmError: no such file, a key or shape that is wrong, or some cameras placed and others not.
    """
    value = read_json(path, "a camera file")
    if not isinstance(value, dict) or not value:
        raise VrmmError(f'{path} is not a camera file: it must be {{"photo.png": {{"intrinsics": …}}, …}}')
    cameras = {name: _camera(entry, f"{path}: {name}") for name, entry in value.items()}
    placed = {name for name, camera in cameras.items() if camera.world_to_camera is not None}
    if placed and placed != set(cameras):
        missing = sorted(set(cameras) - placed)[0]
        raise VrmmError(f"{path}: {missing} has no world_to_camera though others have; give all of them or none")
    return cameras


def write_camera_file(path: Path, cameras: dict[str, PhotoCamera]) -> None:
    """Write what ``read_camera_file`` reads."""
    atomic_write_json(path, {name: camera.to_json() for name, camera in cameras.items()})


def _camera(entry: Any, where: str) -> PhotoCamera:
    try:
        intrinsics = np.array(entry["intrinsics"], np.float64)
        width, height = int(entry["width"]), int(entry["height"])
        place = entry.get("world_to_camera")
        world_to_camera = None if place is None else np.array(place, np.float64)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VrmmError(f"{where} is not a camera ({error!r}); it needs intrinsics, width and height") from error
    if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all() or min(intrinsics[0, 0], intrinsics[1, 1]) <= 0:
        raise VrmmError(f"{where}: intrinsics must be 3×3 finite numbers with positive focal lengths in pixels")
    if world_to_camera is not None and not _is_rigid(world_to_camera):
        raise VrmmError(f"{where}: world_to_camera must be [3, 4], a rotation and a translation in metres")
    return PhotoCamera(intrinsics=intrinsics, width=width, height=height, world_to_camera=world_to_camera)


def _is_rigid(matrix: np.ndarray) -> bool:
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
        return False
    rotation = matrix[:, :3]
    return bool(np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3 and np.linalg.det(rotation) > 0)
