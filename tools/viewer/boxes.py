"""Primitives drawn as boxes, far ones first."""

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import Camera
from prior.primitives import Placement

NEAREST_METRES = 0.01
"""Boxes with a corner nearer to the camera, or behind it, are left out."""
_FACES = [(axis, side) for axis in range(3) for side in (-1.0, 1.0)]
_ROUND = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
_SHIFT = 4
"""Bits of OpenCV's fixed point coordinates behind the point."""


def draw_boxes(
    picture: UInt8[np.ndarray, "H W 3"], placement: Placement, camera: Camera, *, filled: bool
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the primitives over it.

    Args:
        picture: display encoded.
        placement: B = 1, world frame.
        camera: of the picture.
        filled: faces in colours of the UV square (red along u, green along v); otherwise edges, half transparent.
    """
    import cv2

    corners, colours = _visible_faces(placement, camera)
    pixels = np.round((corners - 0.5) * 2**_SHIFT).astype(np.int32)  # OpenCV's pixel centres are whole numbers
    drawn = picture.copy()
    for outline, colour in zip(pixels, colours.round().astype(int).tolist(), strict=True):
        if filled:
            cv2.fillConvexPoly(drawn, outline, colour, cv2.LINE_AA, _SHIFT)
        else:
            cv2.polylines(drawn, [outline], True, colour, 1, cv2.LINE_AA, _SHIFT)
    return drawn if filled else cv2.addWeighted(drawn, 0.5, picture, 0.5, 0.0)


def _visible_faces(placement: Placement, camera: Camera) -> tuple[Float[np.ndarray, "F 4 2"], Float[np.ndarray, "F 3"]]:
    """Pixels of the corners and sRGB of the faces that the camera sees, the farthest first."""
    given = placement.center, placement.rotation, placement.half_size
    center, axes, half = (value[0].detach().double().cpu().numpy() for value in given)
    columns = axes * half[:, None, :]  # [K, 3, 3]: the half axes as columns
    hue = _uv_colours(len(center))
    corners, colours, distances = [], [], []
    for axis, side in _FACES:
        middle = center + side * columns[:, :, axis]
        first, second = (columns[:, :, other] for other in range(3) if other != axis)
        outline = np.stack([middle + a * first + b * second for a, b in _ROUND], axis=1)
        away = camera.center - middle
        distance = np.linalg.norm(away, axis=1)
        facing = side * np.einsum("ki,ki->k", axes[:, :, axis], away) / np.maximum(distance, 1e-9)
        depth = outline @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
        seen = (facing > 0.0) & (depth.min(axis=1) > NEAREST_METRES)
        corners.append(camera.project(outline[seen].reshape(-1, 3)).reshape(-1, 4, 2))
        colours.append(hue[seen] * (0.45 + 0.55 * facing[seen, None]))
        distances.append(distance[seen])
    order = np.argsort(-np.concatenate(distances), kind="stable")
    return np.concatenate(corners)[order], np.concatenate(colours)[order]


def _uv_colours(count: int) -> Float[np.ndarray, "K 3"]:
    """Neighbours on the UV square look alike and every place on it is told from every other."""
    grid = round(count**0.5)
    v, u = np.divmod(np.arange(count), grid)
    return np.stack([40.0 + 215.0 * u / grid, 40.0 + 215.0 * v / grid, 255.0 - 120.0 * (u + v) / (2 * grid)], axis=1)
