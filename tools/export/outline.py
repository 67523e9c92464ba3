"""A mesh that does not stand out of the pictures' outlines."""

import numpy as np
import torch
from jaxtyping import Float

from prior.finemesh import FineMesh
from tools.export.raster import rasterize
from tools.export.source import Pictures, one_camera

STEP = 0.0005
"""Metres that a vertex outside of an outline moves inwards at a time."""
DEEPEST = 0.02
EDGE = 0.5
"""Alpha of an outline."""


def outline_difference(points: Float[np.ndarray, "V 3"], faces: np.ndarray, pictures: Pictures) -> float:
    """Mean square of the difference between the outlines of a mesh and the alpha of the pictures."""
    total = 0.0
    for view in range(len(pictures.alpha)):
        camera = one_camera(pictures.cameras, view)
        alpha = torch.zeros(camera.height * camera.width)
        alpha[torch.tensor(rasterize(points, faces, camera).pixel)] = 1.0
        total += float(((alpha - pictures.alpha[view].reshape(-1)) ** 2).mean())
    return total / len(pictures.alpha)


def carve(
    mesh: FineMesh, points: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"], pictures: Pictures
) -> Float[np.ndarray, "V 3"]:
    """Move vertices that a picture shows to be outside of the head inwards, as far as it takes, at most 2 cm."""
    depth = np.zeros((len(points), 1))
    outside = np.ones(len(points), bool)
    for _ in range(round(DEEPEST / STEP)):
        outside[outside] = _outside((points - depth * normals)[outside], pictures)
        if not outside.any():
            break
        depth[outside] += STEP
    depth[outside] = 0.0  # what is inside nowhere is not to be mended like this
    return mesh.welded(points - depth * normals)


def _outside(points: np.ndarray, pictures: Pictures) -> np.ndarray:
    """Which points are seen beside the head in at least one picture."""
    place = torch.tensor(points, dtype=torch.float32)
    pixels = pictures.cameras.project(place.expand(len(pictures.alpha), -1, -1))
    size = torch.tensor([pictures.cameras.width, pictures.cameras.height])
    alpha = torch.nn.functional.grid_sample(pictures.alpha, (2.0 * pixels / size - 1.0)[:, None], align_corners=False)
    return (alpha[:, 0, 0] < EDGE).any(dim=0).numpy()
