"""A small rasteriser: which point of a mesh is seen through each pixel."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from prior.cameras import CameraBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hits:
    """What the rays of a picture meet first.

    Attributes:
        pixel: [M] row · width + column of the pixels that see the mesh, ascending.
        face: [M].
        weight: [M, 3] of the face's corners at the point seen; rows sum to 1.
        depth: [M] of the point along the camera's axis, metres.
    """

    pixel: Int[np.ndarray, "M"]
    face: Int[np.ndarray, "M"]
    weight: Float[np.ndarray, "M 3"]
    depth: Float[np.ndarray, "M"]

    def at(self, chosen: Bool[np.ndarray, "M"]) -> "Hits":
        """Some of them."""
        return Hits(
            pixel=self.pixel[chosen], face=self.face[chosen], weight=self.weight[chosen], depth=self.depth[chosen]
        )


def rasterize(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], cameras: CameraBatch) -> Hits:
    """Z-buffer of the picture of one camera; ``points`` are metres in the cameras' frame.

    Both sides of a face are seen; faces that reach behind the camera are left out.
    """
    place = cameras.world_to_camera[0].double().numpy()
    lens = cameras.intrinsics[0].double().numpy()
    seen = points @ place[:, :3].T + place[:, 3]
    pixels = (seen @ lens.T)[:, :2] / seen[:, 2:]
    corners, depth = pixels[faces], seen[faces][:, :, 2]
    low = np.ceil(np.clip(corners.min(axis=1) - 0.5, 0.0, 1e6)).astype(np.int64)
    size = np.array([cameras.width, cameras.height])
    high = np.minimum(np.floor(np.clip(corners.max(axis=1) - 0.5, -1.0, 1e6)).astype(np.int64), size - 1)
    span = np.maximum(high - low + 1, 0) * (depth.min(axis=1) > 0.0)[:, None]
    count = span.prod(axis=1)
    face = np.repeat(np.arange(len(faces)), count)
    index = np.arange(len(face)) - np.repeat(count.cumsum() - count, count)
    x, y = low[face, 0] + index % span[face, 0], low[face, 1] + index // span[face, 0]
    weight = _screen_weights(corners, face, np.stack([x, y], axis=1) + 0.5)
    inside = (weight >= 0.0).all(axis=1)
    face, weight, pixel = face[inside], weight[inside], (y * cameras.width + x)[inside]
    # Weights over depth are linear on the screen; so the point's depth and its weights in space follow.
    weight = weight / depth[face]
    nearness = weight.sum(axis=1)
    weight = weight / nearness[:, None]
    order = np.lexsort((-nearness, pixel))
    first = order[np.unique(pixel[order], return_index=True)[1]]
    return Hits(pixel=pixel[first], face=face[first], weight=weight[first], depth=1.0 / nearness[first])


def facing(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], cameras: CameraBatch
) -> Bool[np.ndarray, "F"]:
    """Which faces turn their outer side, where corners go around counter-clockwise, to the one camera."""
    place = cameras.world_to_camera[0].double().numpy()
    corners = (points @ place[:, :3].T + place[:, 3])[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return (normals * corners[:, 0]).sum(axis=1) < 0.0


def _screen_weights(corners: np.ndarray, face: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Barycentric weights on the screen, negative outside; those of faces without area are."""
    a, b, c = (corners[:, corner] for corner in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    inverse = np.where(np.abs(area) > 1e-9, 1.0 / np.where(np.abs(area) > 1e-9, area, 1.0), np.nan)
    relative = at - a[face]
    to_b, to_c = (b - a)[face], (c - a)[face]
    second = (relative[:, 0] * to_c[:, 1] - relative[:, 1] * to_c[:, 0]) * inverse[face]
    third = (to_b[:, 0] * relative[:, 1] - to_b[:, 1] * relative[:, 0]) * inverse[face]
    return np.nan_to_num(np.stack([1.0 - second - third, second, third], axis=1), nan=-1.0)
