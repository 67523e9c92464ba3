"""What Meta's captures of heads have in common: names of sessions, calibrations, head poses.

Calibrations are of whole-numbered pixel centres (the first pixel begins at -0.5), in millimetres, world to camera with
OpenCV axes, for the whole sensor; the published pictures are smaller than that.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Pose
from datasets.errors import VrmmError
from datasets.readers.archive import Archive
from datasets.readers.fields import Fields, finite_array, read_text
from datasets.readers.names import key_name
from datasets.readers.stage import RawCamera, Stage

CALIBRATION = "camera_calibration.json"
METRES = 0.001
SENSOR = 2668, 4096
"""Width and height in pixels that ``camera_calibration.json`` is of."""
BLACK_LEVEL = 2 / 255, 1 / 255, 2 / 255
WHITE_BALANCE = 1.4, 1.1, 1.6

Place = TypeVar("Place")
"""Whatever tells a frame from the others."""

_SESSION = re.compile(r"m--\d+--\d+--(?P<subject>[^-]+)--")
_KRT_LINES = 8  # name, three rows of K, the distortion, three rows of [R|t]
_POSES_FOR_AXES = 100


def session_subject(folder: Path) -> str:
    """The subject of ``m--{date}--{time}--{subject}--…``, or the folder's name if it was renamed."""
    name = folder.resolve().name
    match = _SESSION.match(name)
    return key_name(match["subject"] if match else name)


def read_calibration(path: Path, size: tuple[int, int]) -> list[RawCamera]:
    """The cameras of a ``camera_calibration.json``, for pictures of ``size`` (width, height).

    ``K`` and ``T`` are stored transposed; ``distortion``, if there, is k1, k2, p1, p2.

    Raises:
        VrmmError: a missing file or key, NaN, a camera that is listed twice, or pictures of another shape than the
            sensor's.
    """
    cameras = [
        RawCamera(
            name=key_name(entry["cameraId"].text()),
            world_to_camera=entry["T"].array((4, 4), (4, 3)).T[:3],
            intrinsics=entry["K"].array((3, 3)).T,
            width=SENSOR[0],
            height=SENSOR[1],
            distortion=tuple(entry["distortion"].array((None,)).tolist()) if "distortion" in entry else (),
        )
        for entry in Fields.of_file(path, "the cameras' calibration")["KRT"].entries()
    ]
    return _for_pictures(cameras, size, path)


def read_krt(path: Path, sensor: tuple[int, int], size: tuple[int, int]) -> list[RawCamera]:
    """The cameras of a text file ``KRT``, for pictures of ``size`` (width, height) where it is of ``sensor``.

    A camera is its name, three rows of K, a row k1, k2, p1, p2, k3, three rows of [R|t], and a blank line.

    Raises:
        VrmmError: as ``read_calibration``.
    """
    lines = [line.split() for line in read_text(path, "the cameras' calibration").splitlines() if line.strip()]
    if not lines or len(lines) % _KRT_LINES:
        raise VrmmError(f"{path} has {len(lines)} lines, no multiple of {_KRT_LINES}; is the file damaged?")
    cameras = []
    for start in range(0, len(lines), _KRT_LINES):
        (name, *_), *rows = lines[start : start + _KRT_LINES]
        what = f"{path}: camera {name}"
        cameras.append(
            RawCamera(
                name=key_name(name),
                world_to_camera=finite_array(rows[4:7], f"{what}: [R|t]", (3, 4)),
                intrinsics=finite_array(rows[:3], f"{what}: K", (3, 3)),
                width=sensor[0],
                height=sensor[1],
                distortion=tuple(finite_array(rows[3], f"{what}: distortion", (None,)).tolist()),
            )
        )
    return _for_pictures(cameras, size, path)


def rectified(cameras: Sequence[RawCamera]) -> list[RawCamera]:
    """The cameras without their distortion, for pictures that have none any more."""
    return [dataclasses.replace(camera, distortion=()) for camera in cameras]


def zipped_poses(path: Path, numbers: Iterable[int]) -> dict[int, Float[np.ndarray, "3 4"]]:
    """The head-to-world poses that ``head_pose.zip`` has of frames, in its own frames; none where it is absent."""
    if not path.is_file():
        return {}
    archive = Archive(path)
    names = {number: archive.find(f"{number:06d}.txt") for number in numbers}
    return {
        number: read_pose(archive.read(name).decode("utf-8", "replace"), f"{path}: {name}")
        for number, name in names.items()
        if name
    }


def read_pose(text: str, origin: str) -> Float[np.ndarray, "3 4"]:
    """A pose of three rows of four numbers. Raises VrmmError for anything else."""
    try:
        values = np.loadtxt(io.StringIO(text), np.float64, ndmin=2)
    except ValueError as error:
        raise VrmmError(f"{origin} is no matrix ({error}); is the file damaged?") from error
    return finite_array(values, origin, (3, 4))


def spread(places: Sequence[Place]) -> list[Place]:
    """About a hundred of all frames, evenly: their poses tell where the axes of a data set's head point."""
    return list(places[:: max(1, len(places) // _POSES_FOR_AXES)])


def our_poses(
    stage: Stage, theirs: Mapping[Place, Float[np.ndarray, "3 4"]], telling: Sequence[Place]
) -> dict[Place, Pose]:
    """Head poses in our world and of our head, whose axes are found from the poses of the frames ``telling``."""
    axes = stage.head_axes([theirs[place] for place in telling if place in theirs])
    return {place: stage.pose(pose, axes) for place, pose in theirs.items()}


def _for_pictures(cameras: Sequence[RawCamera], size: tuple[int, int], path: Path) -> list[RawCamera]:
    """The lens in pixels of pictures of ``size`` with the first pixel's centre at (0.5, 0.5)."""
    names: set[str] = set()
    for camera in cameras:
        if camera.name in names:
            raise VrmmError(f"{path}: camera {camera.name} is listed twice")
        if abs(size[0] * camera.height - size[1] * camera.width) > max(camera.width, camera.height):
            raise VrmmError(
                f"pictures are {size[0]}x{size[1]}, but {path} is calibrated for {camera.width}x{camera.height}"
            )
        names.add(camera.name)
    return [_resized(camera, size) for camera in cameras]


def _resized(camera: RawCamera, size: tuple[int, int]) -> RawCamera:
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += 0.5
    scale = np.diag([size[0] / camera.width, size[1] / camera.height, 1.0])
    return dataclasses.replace(camera, intrinsics=scale @ intrinsics, width=size[0], height=size[1])
