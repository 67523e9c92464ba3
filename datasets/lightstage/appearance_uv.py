"""Baking of per-vertex values into a texture."""

import numpy as np
from jaxtyping import Float, Int


def bake(
    uv: Float[np.ndarray, "V 2"], faces: Int[np.ndarray, "F 3"], values: Float[np.ndarray, "V C"], size: int
) -> Float[np.ndarray, "H W C"]:
    """Per-vertex values as a ``size`` × ``size`` texture; texels outside every chart take the nearest value.

    Args:
        uv: texture coordinates in [0, 1]; row 0 of the result is v = 1.
        faces: triangles into ``uv``.
        values: what to interpolate linearly over each triangle.
        size: width and height in texels.
    """
    corners = uv[faces] * size
    extent = np.ptp(corners, axis=1).max(1)
    total = np.zeros((size * size, values.shape[1]))
    count = np.zeros(size * size)
    steps = np.maximum(2, np.ceil(1.5 * extent).astype(int))
    for step in np.unique(steps):
        some = steps == step
        weights = _lattice(int(step))
        places = np.matmul(weights, corners[some]).reshape(-1, 2)
        column = np.clip(places[:, 0].astype(int), 0, size - 1)
        row = np.clip((size - places[:, 1]).astype(int), 0, size - 1)
        texel = row * size + column
        samples = np.matmul(weights, values[faces[some]]).reshape(-1, values.shape[1])
        count += np.bincount(texel, minlength=size * size)
        for channel in range(values.shape[1]):
            total[:, channel] += np.bincount(texel, samples[:, channel], minlength=size * size)
    known = (count > 0).reshape(size, size)
    texture = (total / np.maximum(count, 1)[:, None]).reshape(size, size, -1)
    return _fill(texture, known)


def _lattice(steps: int) -> np.ndarray:
    """Barycentric weights of a triangular lattice with ``steps`` intervals a side, [S, 3]."""
    first, second = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    inside = first + second <= steps
    first, second = first[inside], second[inside]
    return np.stack([first, second, steps - first - second], 1) / steps


def _fill(texture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Grow the known texels outwards until every texel has a value (doubling steps: a push-pull pyramid)."""
    if known.all() or not known.any():
        return texture
    if texture.shape[0] % 2:
        return np.where(known[..., None], texture, texture[known].mean(0))
    height, width, channels = texture.shape
    blocks = (texture * known[..., None]).reshape(height // 2, 2, width // 2, 2, channels).sum((1, 3))
    counts = known.reshape(height // 2, 2, width // 2, 2).sum((1, 3))
    coarse = _fill(blocks / np.maximum(counts, 1)[..., None], counts > 0)
    return np.where(known[..., None], texture, coarse.repeat(2, 0).repeat(2, 1))
