"""Which cameras of a rig a frame is seen through: the encoders' fixed views and the random views to render."""

import zlib
from collections.abc import Sequence

import numpy as np

from datasets.capture import Camera
from datasets.order import random_numbers

_SPREAD = np.deg2rad(35.0)


def frontal_cameras(cameras: Sequence[Camera], count: int = 3) -> tuple[str, ...]:
    """``count`` cameras that see the face, evenly from its right to its left; a pure function of the rig.

    For each of ``count`` directions within 35 degrees of straight ahead (the world's z axis) the camera nearest in
    angle is taken, the middle ones first. Of a rig with fewer cameras all are taken.
    """
    angles = np.linspace(-_SPREAD, _SPREAD, count) if count > 1 else np.zeros(count)
    chosen: dict[float, Camera] = {}
    for angle in sorted(angles, key=abs):
        free = [camera for camera in cameras if camera not in chosen.values()]
        if free:
            wanted = np.array([np.sin(angle), 0.0, np.cos(angle)])
            chosen[angle] = max(free, key=lambda camera: float(_direction(camera) @ wanted))
    return tuple(chosen[angle].name for angle in sorted(chosen))


def pick_cameras(available: Sequence[int], count: int, *, seed: int, epoch: int, key: str) -> list[int]:
    """``count`` different numbers out of ``available`` at random, a pure function of seed, epoch and sample key."""
    scores = random_numbers(max(available) + 1, seed, epoch, zlib.crc32(key.encode()))
    return sorted(available, key=lambda number: int(scores[number]))[:count]


def _direction(camera: Camera) -> np.ndarray:
    return camera.center / max(float(np.linalg.norm(camera.center)), 1e-12)
