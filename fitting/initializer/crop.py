"""The square that the network looks at, and what turns its frame into that of the picture's camera."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

SIDE = 2.0
"""Side of the square in sides of the box of the landmarks."""
RAISED = 0.2
"""The square's centre is so much above that of the box, in sides of the box: a head has more above its brows."""


def face_squares(landmarks: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B 3"]:
    """Centre x, y and side of the square around each face, in the unit of the landmarks."""
    low, high = landmarks.amin(dim=1), landmarks.amax(dim=1)
    face = (high - low).amax(dim=1, keepdim=True)
    center = (low + high) / 2
    center = torch.cat([center[:, :1], center[:, 1:] - RAISED * face], dim=1)
    return torch.cat([center, SIDE * face], dim=1)


def turn_matrices(roll: Float[Tensor, "B"]) -> Float[Tensor, "B 2 2"]:
    """Rotations of the image plane, x right and y down, radians."""
    cosine, sine = roll.cos(), roll.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], dim=-2)


def to_crop(
    points: Float[Tensor, "B N 2"], squares: Float[Tensor, "B 3"], roll: Float[Tensor, "B"]
) -> Float[Tensor, "B N 2"]:
    """Pixels to the crop's frame, which spans [−1, 1] across and down."""
    moved = (points - squares[:, None, :2]) * (2.0 / squares[:, None, 2:])
    return moved @ turn_matrices(roll).transpose(1, 2)


def from_crop(points: Float[Tensor, "B N 2"], squares: Float[Tensor, "B 3"]) -> Float[Tensor, "B N 2"]:
    """The frame of a crop without roll to pixels."""
    return points * (squares[:, None, 2:] / 2.0) + squares[:, None, :2]


def cut(
    pictures: Float[Tensor, "B C H W"], squares: Float[Tensor, "B 3"], roll: Float[Tensor, "B"], size: int
) -> Float[Tensor, "B C S S"]:
    """Crops of ``size`` pixels, bilinear; zeros beyond the pictures."""
    height, width = pictures.shape[-2:]
    axis = (torch.arange(size, dtype=pictures.dtype) + 0.5) * (2.0 / size) - 1.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    unit = torch.stack([x, y], dim=-1).reshape(1, -1, 2) @ turn_matrices(roll)  # the inverse turn, for rows
    pixels = unit * (squares[:, None, 2:] / 2.0) + squares[:, None, :2]
    grid = pixels * pixels.new_tensor([2.0 / width, 2.0 / height]) - 1.0
    return grid_sample(pictures, grid.reshape(len(pictures), size, size, 2), padding_mode="zeros", align_corners=False)


def to_crop_camera(
    center: Float[Tensor, "B 2"], focal: Float[Tensor, "B"], roll: Float[Tensor, "B"]
) -> Float[Tensor, "B 3 3"]:
    """Rotation from a camera's frame to that of a camera in the same place that looks along the crop's centre.

    Args:
        center: of the crop, pixels from the principal point.
        focal: pixels.
        roll: of the crop, radians.
    """
    axis = normalize(torch.cat([center, focal[:, None]], dim=1), dim=1)
    zero = torch.zeros_like(focal)
    # The smallest turn that brings ``axis`` to z (Rodrigues' formula for the cross product of the two).
    cross = torch.stack(
        [
            torch.stack([zero, zero, -axis[:, 0]], -1),
            torch.stack([zero, zero, -axis[:, 1]], -1),
            torch.stack([axis[:, 0], axis[:, 1], zero], -1),
        ],
        dim=1,
    )
    look = torch.eye(3) + cross + cross @ cross / (1.0 + axis[:, 2])[:, None, None]
    turn = torch.eye(3).repeat(len(roll), 1, 1)
    turn[:, :2, :2] = turn_matrices(roll)
    return turn @ look
