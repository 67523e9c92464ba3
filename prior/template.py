"""The base mesh: a square UV grid wrapped around a head by casting rays from its centre."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage.head import HeadModel

FRONT_DENSITY = 0.7
"""Slope of the radial warp at the nose: below 1 the grid is denser on the face than at the back of the head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """A mesh with UVs and 3-D landmarks, head frame, metres.

    Attributes:
        vertices: [V, 3].
        uv: [V, 2] in [0, 1].
        faces: [F, 3].
        landmarks: [68, 3] Multi-PIE points, used to initialise fits.
    """

    vertices: Float[np.ndarray, "V 3"]
    uv: Float[np.ndarray, "V 2"]
    faces: Int[np.ndarray, "F 3"]
    landmarks: Float[np.ndarray, "68 3"]


def octahedral_directions(uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 3"]:
    """Unit vectors of the octahedral map: the centre of the square looks along +z, its corners along -z."""
    plane = 2.0 * uv - 1.0
    ring = np.abs(plane).sum(axis=1)
    warped = FRONT_DENSITY * ring + (1.0 - FRONT_DENSITY) * ring**2 / 2.0
    plane = plane * (warped / np.maximum(ring, 1e-12))[:, None]
    # The warp moves points along rays of the diamond; beyond the square's edge it would leave the map.
    plane = np.clip(plane, -1.0, 1.0)
    z = 1.0 - np.abs(plane).sum(axis=1)
    folded = (1.0 - np.abs(plane[:, ::-1])) * np.where(plane >= 0.0, 1.0, -1.0)
    xy = np.where(z[:, None] < 0.0, folded, plane)
    directions = np.concatenate([xy, z[:, None]], axis=1)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def farthest_hit(
    directions: Float[np.ndarray, "N 3"], vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "N"]:
    """Distance from the origin to the farthest triangle along each direction, NaN where none is hit.

    Möller & Trumbore 1997; of each direction with the few triangles alone whose cone around their middle holds it.
    """
    corners = vertices[faces].astype(np.float64)
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    beside = np.cross(-corners[:, 0], edge1)
    behind = np.einsum("fi,fi->f", edge2, beside)
    middle, cosine = _cones(corners)
    distance = np.full(len(directions), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for index, direction in enumerate(directions):
            near = np.flatnonzero(middle @ direction >= cosine)
            p = np.cross(direction, edge2[near])
            inverse = 1.0 / np.einsum("fi,fi->f", edge1[near], p)
            u = -np.einsum("fi,fi->f", corners[near, 0], p) * inverse
            v = beside[near] @ direction * inverse
            t = behind[near] * inverse
            hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1.0 + 1e-9) & (t > 0.0)
            if hit.any():
                distance[index] = t[hit].max()
    return distance


def _cones(corners: Float[np.ndarray, "F 3 3"]) -> tuple[Float[np.ndarray, "F 3"], Float[np.ndarray, "F"]]:
    """Axis, and cosine of the half angle, of a cone from the origin around each triangle; very wide ones hold all."""
    toward = corners / np.maximum(np.linalg.norm(corners, axis=2, keepdims=True), 1e-12)
    axis = toward.sum(axis=1)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    cosine = np.einsum("fci,fi->fc", toward, axis).min(axis=1)
    return axis, np.where(cosine > 0.0, cosine - 1e-6, -2.0)


def wrap_template(head: HeadModel, resolution: int = 33) -> Template:
    """Shrink-wrap the neutral mean head of ``head`` with a ``resolution`` × ``resolution`` grid.

    Directions that leave through the open neck end on the plane of its lowest point.
    """
    neutral, rest = np.zeros(len(head.identity_names)), head.neutral_expression()
    shapes = head.shape(neutral, rest)
    vertices, faces = _merged(head, shapes)
    axis = np.linspace(0.0, 1.0, resolution)
    u, v = np.meshgrid(axis, axis)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    directions = octahedral_directions(uv)
    distance = farthest_hit(directions, vertices, faces)
    floor = vertices[:, 1].min()
    with np.errstate(divide="ignore"):
        to_floor = np.where(directions[:, 1] < -1e-6, floor / directions[:, 1], np.inf)
    distance = np.where(np.isnan(distance), to_floor, distance)
    distance = np.where(np.isfinite(distance), distance, np.nanmedian(distance[np.isfinite(distance)]))
    distance = np.minimum(distance, np.linalg.norm(vertices, axis=1).max())
    return Template(
        vertices=(directions * distance[:, None]).astype(np.float32),
        uv=uv.astype(np.float32),
        faces=_grid_faces(resolution),
        landmarks=head.landmarks(neutral, rest).astype(np.float32),
    )


def _merged(head: HeadModel, shapes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces, offset = [], [], 0
    for part in head.parts:
        vertices.append(shapes[part.name])
        faces.append(part.faces + offset)
        offset += len(shapes[part.name])
    return np.concatenate(vertices), np.concatenate(faces)


def _grid_faces(resolution: int) -> Int[np.ndarray, "F 3"]:
    index = np.arange(resolution * resolution).reshape(resolution, resolution)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2)
    return quads.reshape(-1, 3).astype(np.int32)
