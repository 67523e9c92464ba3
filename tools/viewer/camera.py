"""The camera of a state, and its picture in bands."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from datasets.capture import Camera
from datasets.errors import VrmmError
from prior.cameras import CameraBatch
from tools.viewer.state import Orbit

BAND_RAYS = 16384
"""Rays of one band: some 20 ms on one core, so that a new picture never waits longer for an old one."""
BAND_ROWS = 8
"""Bands are whole multiples of so many rows: the CPU kernel works on tiles."""


def orbit_camera(orbit: Orbit, width: int, height: int) -> Camera:
    """A pinhole camera that looks from ``eye`` to ``target``.

    Raises:
        VrmmError: eye and target are one point, or the view goes along ``up``.
    """
    eye, target, up = (np.array(value, np.float64) for value in (orbit.eye, orbit.target, orbit.up))
    forward = target - eye
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9 * max(float(np.linalg.norm(forward) * np.linalg.norm(up)), 1e-9):
        raise VrmmError("the camera cannot look along its own up direction, or at itself; move --eye or --target")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    if not 0.1 <= orbit.fov <= 170.0:
        raise VrmmError(f"--fov {orbit.fov} is no field of view in degrees; give 0.1 to 170")
    focal = 0.5 * height / np.tan(0.5 * np.radians(orbit.fov))
    return Camera(
        name="view",
        world_to_camera=np.concatenate([rotation, (-rotation @ eye)[:, None]], axis=1),
        intrinsics=np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]]),
        width=width,
        height=height,
    )


def bands(cameras: CameraBatch) -> Iterator[CameraBatch]:
    """The same pictures in strips from top to bottom. A pure function of the size."""
    rows = max(BAND_RAYS // cameras.width // BAND_ROWS, 1) * BAND_ROWS
    for top in range(0, cameras.height, rows):
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:, 1, 2] -= top
        yield dataclasses.replace(cameras, intrinsics=intrinsics, height=min(rows, cameras.height - top))
