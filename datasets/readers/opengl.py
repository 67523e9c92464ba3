"""Cameras of monocular trackers in our axes: OpenGL axes, camera-to-world matrices, negative focal lengths."""

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError

FLIP = np.diag([1.0, -1.0, -1.0])
"""OpenGL's camera axes (x right, y up, z backward) to OpenCV's (x right, y down, z forward), and back."""
MIRROR = np.diag([-1.0, 1.0, 1.0])
"""A left-handed world to a right-handed one and back: what is on the other side of the symmetry plane of a head."""

_RIGID = 1e-3


def rigid(matrix: np.ndarray, origin: str) -> Float[np.ndarray, "3 4"]:
    """The upper rows of a rigid motion [3, 4] or [4, 4], which may be one with a mirror.

    Raises:
        VrmmError: axes that are not at right angles or not of length 1, or a last row other than 0, 0, 0, 1; it names
            ``origin``.
    """
    axes = matrix[:3, :3]
    if np.abs(axes @ axes.T - np.eye(3)).max() > _RIGID:
        raise VrmmError(f"{origin} is no rotation and shift; is the file damaged, or of another format?")
    if len(matrix) == 4 and np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > _RIGID:
        raise VrmmError(f"{origin} has the last row {matrix[3].tolist()} where 0, 0, 0, 1 belongs; is it transposed?")
    return np.asarray(matrix[:3], np.float64)


def inverse(motion: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
    """Camera-to-world as world-to-camera, and back."""
    axes = motion[:, :3].T
    return np.concatenate([axes, -axes @ motion[:, 3:]], axis=1)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """The matrix of these pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def from_pixel_numbers(intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of a format whose first pixel centre is at (0, 0) in ours, where it is at (0.5, 0.5)."""
    shifted = intrinsics.copy()
    shifted[:2, 2] += 0.5
    return shifted


def positive_focal(
    world_to_camera: Float[np.ndarray, "3 4"], intrinsics: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "3 4"], Float[np.ndarray, "3 3"]]:
    """The same projection with positive focal lengths: a negative one turns its axis of the camera round.

    With one negative focal length the camera's axes come out mirrored, unless those of the file are, too.
    """
    signs = np.sign(np.diag(intrinsics))
    return signs[:, None] * world_to_camera, intrinsics * np.array([signs[0], signs[1], 1.0])


def is_mirrored(motion: Float[np.ndarray, "3 4"]) -> bool:
    """Whether a rigid motion turns left hands into right ones."""
    return bool(np.linalg.det(motion[:, :3]) < 0.0)
