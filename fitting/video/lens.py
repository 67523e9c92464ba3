"""One lens for a whole video, from the landmarks of frames in which the head is turned differently."""

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from fitting.camerafile import PhotoCamera
from fitting.photo import HEAD_BOX
from fitting.pose import FIELD_PRIOR, FIELDS_OF_VIEW, USUAL_FIELD, solve_pose

FRAMES = 16
"""That are looked at, spread over the video."""


def find_lens(
    points: Float[np.ndarray, "T 68 2"], template: Float[np.ndarray, "68 3"], width: int, height: int, name: str
) -> PhotoCamera:
    """The focal length with which the template's landmarks fit all frames best.

    The optical axis goes through the picture's middle. Where the landmarks cannot tell, the lens is drawn to the
    distance from which heads are usually filmed.

    Args:
        points: landmarks, pixels.
        template: of the mean head, head frame, metres.
        width, height: of the frames.
        name: of the video, for errors.

    Raises:
        VrmmError: landmarks of no face.
    """
    chosen = points[np.unique(np.linspace(0, len(points) - 1, min(FRAMES, len(points))).round().astype(int))]
    faces = np.ptp(chosen, axis=1).max(axis=1)
    side = HEAD_BOX * float(np.median(faces))
    best, result = np.inf, None
    for field in FIELDS_OF_VIEW:
        focal = side / 2 / np.tan(field / 2)
        lens = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        try:
            errors = [_residual(target, template, lens, name) for target in chosen]
        except VrmmError:
            continue
        cost = float((np.array(errors) / faces**2).mean()) + FIELD_PRIOR * np.log(field / USUAL_FIELD) ** 2
        if cost < best:
            best, result = cost, lens
    if result is None:
        raise VrmmError(f"{name}: no head pose fits its landmarks; they must be those of a face, in order")
    return PhotoCamera(intrinsics=result, width=width, height=height, world_to_camera=None)


def _residual(points: np.ndarray, template: np.ndarray, lens: np.ndarray, name: str) -> float:
    """Mean squared distance in pixels."""
    rotation, translation = solve_pose(points, template, lens, name)
    seen = (template @ rotation.T + translation) @ lens.T
    return float(((seen[:, :2] / seen[:, 2:] - points) ** 2).sum(axis=1).mean())
