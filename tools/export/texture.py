"""A texture that makes a mesh look like pictures: the least squares of all of them at once."""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from prior.cameras import CameraBatch
from tools.export.raster import Hits, rasterize
from tools.export.source import Pictures, one_camera

SAMPLES = 2
"""Rays along each side of a pixel."""
SMOOTH = 0.02
"""Weight of the difference between neighbouring texels, so that what no picture shows continues what they do."""
ROUNDS = 60
WHOLE = 0.995
"""Pixels that the mesh, or the volume, fills less than this are an outline and say nothing about the texture."""


def texel_weights(
    hits: Hits, uv: Float[np.ndarray, "V 2"], faces: Int[np.ndarray, "F 3"], cameras: CameraBatch, size: int
) -> sparse.csr_array:
    """What each pixel [H·W] of one camera takes of each texel [size²]: means of rays, and linear between texels.

    Args:
        hits: of ``SAMPLES``² rays a pixel.
    """
    width = cameras.width * SAMPLES
    row, column = hits.pixel // width // SAMPLES, hits.pixel % width // SAMPLES
    place = (uv[faces[hits.face]] * hits.weight[:, :, None]).sum(axis=1) * size - 0.5
    low = np.clip(np.floor(place).astype(np.int64), 0, size - 2)
    share = np.clip(place - low, 0.0, 1.0)
    columns, values = [], []
    for across in range(2):
        for down in range(2):
            part = np.abs(1 - across - share[:, 0]) * np.abs(1 - down - share[:, 1])
            columns.append((low[:, 1] + down) * size + low[:, 0] + across)
            values.append(part / SAMPLES**2)
    rows = np.tile(row * cameras.width + column, 4)
    shape = (cameras.height * cameras.width, size * size)
    return sparse.csr_array(sparse.coo_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape))


def bake_texture(
    points: Float[np.ndarray, "V 3"],
    uv: Float[np.ndarray, "V 2"],
    faces: Int[np.ndarray, "F 3"],
    pictures: Pictures,
    size: int,
) -> Float[np.ndarray, "T T 3"]:
    """The texture of ``size``² texels with which the mesh looks most like the pictures."""
    texels = size * size
    left, right = sparse.csr_array((texels, texels)), np.zeros((texels, 3))
    for view in range(len(pictures.values)):
        camera = one_camera(pictures.cameras, view)
        fine = camera.resized(camera.height * SAMPLES, camera.width * SAMPLES)
        weights = texel_weights(rasterize(points, faces, fine), uv, faces, camera, size)
        solid = pictures.alpha[view].reshape(-1).numpy() > WHOLE
        whole = np.flatnonzero((weights @ np.ones(texels) > WHOLE) & solid)
        rows = weights[whole]
        left = left + rows.T @ rows
        right += rows.T @ pictures.values[view].flatten(1).T.double().numpy()[whole]
    mean = right.sum(axis=0) / max(float(left.sum()), 1e-12)
    start = np.tile(mean, (texels, 1))
    found = _solve(sparse.csr_array(left) + SMOOTH * _stiffness(size), right, start)
    return np.clip(found, 0.0, 1.0).reshape(size, size, 3)


def _stiffness(size: int) -> sparse.csr_array:
    """The sum of squared differences between neighbouring texels, as a matrix."""
    number = np.arange(size * size).reshape(size, size)
    pairs = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1),
        ]
    )
    edge = np.arange(len(pairs))
    values = np.concatenate([np.ones(len(pairs)), -np.ones(len(pairs))])
    shape = (len(pairs), size * size)
    difference = sparse.csr_array(
        sparse.coo_array((values, (np.concatenate([edge, edge]), pairs.T.reshape(-1))), shape=shape)
    )
    return sparse.csr_array(difference.T @ difference)


def _solve(left: sparse.csr_array, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Conjugate gradients with a diagonal preconditioner, the three channels side by side."""
    scale = 1.0 / np.maximum(left.diagonal(), 1e-9)[:, None]
    found = start
    residual = right - left @ found
    toward = scale * residual
    direction, power = toward, (residual * toward).sum(axis=0)
    for _ in range(ROUNDS):
        image = left @ direction
        step = power / np.maximum((direction * image).sum(axis=0), 1e-30)
        found = found + step * direction
        residual = residual - step * image
        toward = scale * residual
        before, power = power, (residual * toward).sum(axis=0)
        direction = toward + power / np.maximum(before, 1e-30) * direction
    return found
