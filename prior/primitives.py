"""Volumetric primitives on the UV grid of the base mesh (eq. 1), oriented by its tangent frames."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from datasets.errors import VrmmError
from prior.template import Template

TANGENT_OVERLAP = 0.85
"""Half size of a primitive along the surface, in distances to its neighbour; above 0.5 neighbours overlap."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the primitives are, before colour.

    Attributes:
        center: [B, K, 3] metres.
        rotation: [B, K, 3, 3], columns are the primitive's axes (u tangent, v tangent, normal).
        half_size: [B, K, 3] metres.
    """

    center: Float[Tensor, "B K 3"]
    rotation: Float[Tensor, "B K 3 3"]
    half_size: Float[Tensor, "B K 3"]

    def moved(self, rotation: Float[Tensor, "B 3 3"], translation: Float[Tensor, "B 3"]) -> "Placement":
        """Apply a head→world pose to primitives in the head frame."""
        return Placement(
            center=self.center @ rotation.transpose(1, 2) + translation[:, None],
            rotation=rotation[:, None] @ self.rotation,
            half_size=self.half_size,
        )

    def repeated(self, times: int) -> "Placement":
        """Every batch entry ``times`` times in a row, for the views of a frame."""
        return Placement(
            center=self.center.repeat_interleave(times, 0),
            rotation=self.rotation.repeat_interleave(times, 0),
            half_size=self.half_size.repeat_interleave(times, 0),
        )


class TangentGrid(nn.Module):
    """Places g × g primitives at the cell centres of the UV square on a deforming mesh.

    Tangents are central differences of the surface over a cell, so coarse meshes give smooth frames.
    """

    half_size: Tensor
    _corners: Tensor
    _barycentric: Tensor

    def __init__(self, template: Template, grid: int, thickness: float) -> None:
        """``thickness`` is the half size along the normal, metres."""
        super().__init__()
        self.grid = grid
        cells = (np.arange(grid) + 0.5) / grid
        v, u = np.meshgrid(cells, cells, indexing="ij")
        center = np.stack([u.ravel(), v.ravel()], axis=1)
        shift = 0.5 / grid
        points = np.concatenate(
            [center, center + (shift, 0), center - (shift, 0), center + (0, shift), center - (0, shift)]
        )
        corners, barycentric = locate_in_uv(template, points)
        self.register_buffer("_corners", torch.tensor(corners.astype(np.int64)))
        self.register_buffer("_barycentric", torch.tensor(barycentric, dtype=torch.float32))
        self.register_buffer("half_size", torch.zeros(grid * grid, 3))
        spacing = self._spacing(torch.tensor(template.vertices)[None])[0]
        floor = 0.25 * spacing.median()
        self.half_size.copy_(
            torch.cat([TANGENT_OVERLAP * torch.maximum(spacing, floor), torch.full((grid * grid, 1), thickness)], 1)
        )

    def _points(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B 5 K 3"]:
        corners = vertices[:, self._corners.reshape(-1)].reshape(len(vertices), -1, 3, 3)
        points = (corners * self._barycentric[:, :, None]).sum(dim=2)
        return points.reshape(len(vertices), 5, self.grid * self.grid, 3)

    def _spacing(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B K 2"]:
        points = self._points(vertices)
        return torch.stack([(points[:, 1] - points[:, 2]).norm(dim=-1), (points[:, 3] - points[:, 4]).norm(dim=-1)], -1)

    def forward(self, vertices: Float[Tensor, "B V 3"]) -> Placement:
        """Primitives of a mesh in their rest size: centre on the surface, axes (u, v, normal)."""
        center, right, left, up, down = self._points(vertices).unbind(dim=1)
        tangent = nn.functional.normalize(right - left, dim=-1, eps=1e-8)
        normal = nn.functional.normalize(torch.linalg.cross(tangent, up - down), dim=-1, eps=1e-8)
        rotation = torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], dim=-1)
        return Placement(center=center, rotation=rotation, half_size=self.half_size.expand(len(vertices), -1, -1))


def locate_in_uv(
    template: Template, points: Float[np.ndarray, "P 2"]
) -> tuple[Int[np.ndarray, "P 3"], Float[np.ndarray, "P 3"]]:
    """Vertex indices and barycentric weights of UV points; points off every chart go to the nearest triangle.

    Raises:
        VrmmError: the template's UVs are degenerate.
    """
    corners = template.uv[template.faces].astype(np.float64)
    matrix = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=-1)
    usable = np.abs(np.linalg.det(matrix)) > 1e-12
    if not usable.any():
        raise VrmmError("the template mesh has no triangle with area in UV space; give it texture coordinates")
    faces, origin, inverse = template.faces[usable], corners[usable, 0], np.linalg.inv(matrix[usable])
    lowest, highest = corners[usable].min(axis=1), corners[usable].max(axis=1)
    best, weights = np.zeros(len(points), np.int64), np.full((len(points), 3), -np.inf)
    for first in range(0, len(points), _POINTS_AT_A_TIME):
        some = slice(first, first + _POINTS_AT_A_TIME)
        point, near = _boxes_that_hold(lowest, highest, points[some])
        inside = _barycentric(inverse[near], origin[near], points[some][point])
        order = np.lexsort((near, -inside.min(axis=1), point))  # of each point's triangles the one it lies deepest in
        which, deepest = np.unique(point[order], return_index=True)
        best[first + which], weights[first + which] = near[order[deepest]], inside[order[deepest]]
    for index in np.flatnonzero(weights.min(axis=1) < 0):  # in no triangle: all are candidates for the nearest
        every = _barycentric(inverse, origin, points[index])
        best[index] = every.min(axis=1).argmax()
        weights[index] = every[best[index]]
    clipped = np.clip(weights, 0.0, None)
    return faces[best].astype(np.int64), clipped / clipped.sum(axis=1, keepdims=True)


_POINTS_AT_A_TIME = 512


def _boxes_that_hold(lowest: np.ndarray, highest: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of a point and a box [F, 2] that holds it; few triangles can hold a point."""
    u, v = points[:, :1], points[:, 1:]
    held = (lowest[:, 0] <= u) & (u <= highest[:, 0]) & (lowest[:, 1] <= v) & (v <= highest[:, 1])
    return np.nonzero(held)


def _barycentric(inverse: np.ndarray, origin: np.ndarray, point: np.ndarray) -> np.ndarray:
    local = np.einsum("fij,fj->fi", inverse, point - origin)
    return np.concatenate([1.0 - local.sum(axis=1, keepdims=True), local], axis=1)


def adjust(
    rest: Placement, offsets: Float[Tensor, "B K 9"], half_size: Float[Tensor, "K 3"]
) -> tuple[Placement, Float[Tensor, "B K 3"]]:
    """Apply the transform decoder's answer {R_p, t_p, s_p} in each primitive's tangent frame.

    Args:
        offsets: per primitive axis-angle rotation (radians), translation (in half sizes), log scale.

    Returns:
        The placement, and the relative scales s_p that eq. 11 regularises.
    """
    turn, shift, log_scale = offsets.split(3, dim=-1)
    scale = torch.exp(log_scale)
    move = (rest.rotation @ (shift * half_size)[..., None]).squeeze(-1)
    placement = Placement(
        center=rest.center + move,
        rotation=rest.rotation @ rotation_from_axis_angle(turn),
        half_size=rest.half_size * scale,
    )
    return placement, scale


def rotation_from_axis_angle(vector: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Rodrigues' formula, smooth at zero."""
    squared = (vector * vector).sum(-1, keepdim=True)
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1.0 - squared / 6.0, torch.sin(angle) / angle)[..., None]
    cosine = torch.where(small, 0.5 - squared / 24.0, (1.0 - torch.cos(angle)) / safe)[..., None]
    zero = torch.zeros_like(vector[..., 0])
    x, y, z = vector.unbind(-1)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vector.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + sine * skew + cosine * (skew @ skew)
