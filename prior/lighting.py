"""Light as the incoming radiance field l of eq. 1: N_l fixed directions in the head frame."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull
from torch import Tensor, nn


def fibonacci_directions(count: int) -> Float[np.ndarray, "N 3"]:
    """``count`` nearly uniform unit vectors on the sphere, y up."""
    index = np.arange(count) + 0.5
    azimuth = np.pi * (1.0 + math.sqrt(5.0)) * index
    height = 1.0 - 2.0 * index / count
    radius = np.sqrt(1.0 - height**2)
    return np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=1)


class LightSphere(nn.Module):
    """Turns lamps in the world into radiance from N_l fixed head-frame directions.

    A lamp between directions is shared by the three corners of the spherical triangle that holds it with its
    barycentric weights, so that the field is continuous while lamp or head turn, exact at the directions, linear
    in the lamps, and keeps their irradiance.
    """

    directions: Tensor
    _corners: Tensor
    _inverse: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        directions = fibonacci_directions(count)
        corners = ConvexHull(directions).simplices
        triangles = directions[corners].transpose(0, 2, 1)
        self.count = count
        self.register_buffer("directions", torch.tensor(directions, dtype=torch.float32), persistent=False)
        self.register_buffer("_corners", torch.tensor(corners.astype(np.int64)), persistent=False)
        self.register_buffer("_inverse", torch.tensor(np.linalg.inv(triangles), dtype=torch.float32), persistent=False)

    @property
    def solid_angle(self) -> float:
        """Steradians that one direction stands for."""
        return 4.0 * math.pi / self.count

    @property
    def triangles(self) -> Int[Tensor, "T 3"]:
        """Numbers of the three directions at the corners of every spherical triangle."""
        return self._corners

    def weights(self, directions: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B N"]:
        """Barycentric weights over the N_l directions of unit vectors in the head frame; rows sum to 1."""
        inside = torch.einsum("tij,...j->...ti", self._inverse.to(directions.dtype), directions)
        triangle = inside.amin(dim=-1).argmax(dim=-1)
        corner_weights = torch.gather(inside, -2, triangle[..., None, None].expand(*triangle.shape, 1, 3))
        corner_weights = corner_weights.squeeze(-2).clamp(min=0.0)
        # Lamps that pad a batch have no direction; they get no weight.
        corner_weights = corner_weights / corner_weights.sum(-1, keepdim=True).clamp(min=1e-12)
        empty = directions.new_zeros(*directions.shape[:-1], self.count)
        return empty.scatter_add(-1, self._corners[triangle], corner_weights)

    def radiance(
        self,
        lamp_directions: Float[Tensor, "B L 3"],
        lamp_irradiance: Float[Tensor, "B L 3"],
        rotation: Float[Tensor, "B 3 3"],
    ) -> Float[Tensor, "B N 3"]:
        """Incoming radiance per head-frame direction.

        Args:
            lamp_directions: unit vectors towards the lamps, world frame.
            lamp_irradiance: linear RGB, see ``datasets.capture``.
            rotation: head→world.
        """
        in_head = lamp_directions @ rotation
        return self.weights(in_head).transpose(1, 2) @ lamp_irradiance / self.solid_angle
