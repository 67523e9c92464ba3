"""A mesh whose outlines are those of pictures."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prior.cameras import CameraBatch
from prior.finemesh import FineMesh
from prior.surface import smooth_on_mesh
from tools.export.raster import rasterize
from tools.export.source import Pictures, one_camera

REACH = 5
"""Pixels to each side of an outline in which the other one is looked for."""
SAMPLES_A_PIXEL = 2
SIDEWAYS = 0.35
"""Cosine of the angle between view and normal up to which a vertex may be on an outline."""
ROUNDS = 6
STEP = 0.8
"""Of the distance between the outlines that a vertex goes in a round."""


def outline_difference(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], pictures: Pictures) -> float:
    """Mean square of the difference between the outlines of a mesh and the alpha of the pictures."""
    views = range(len(pictures.alpha))
    differences = [_coverage(points, faces, one_camera(pictures.cameras, v)) - pictures.alpha[v, 0] for v in views]
    return float(torch.stack([(difference**2).mean() for difference in differences]).mean())


def fit_outlines(
    mesh: FineMesh, points: Float[np.ndarray, "V 3"], pictures: Pictures, rounds: int = ROUNDS
) -> Float[np.ndarray, "V 3"]:
    """Move the vertices along their normals until the mesh's outlines lie on those of the pictures.

    The distance between two outlines is the sum of the difference between the two masks along a line across them.
    Vertices that are on no outline follow their neighbours.
    """
    for _ in range(rounds):
        normals = mesh.normals(points)
        shift, weight = np.zeros(len(points)), np.zeros(len(points))
        for view in range(len(pictures.alpha)):
            camera = one_camera(pictures.cameras, view)
            found, usable = _distances(points, normals, mesh.faces, camera, pictures.alpha[view])
            shift[usable] += found[usable]
            weight += usable
        known = weight > 0
        height = smooth_on_mesh(mesh, shift / np.maximum(weight, 1), known)
        points = mesh.welded(points + STEP * height[:, None] * normals)
    return points


def _distances(
    points: np.ndarray, normals: np.ndarray, faces: np.ndarray, camera: CameraBatch, alpha: Float[Tensor, "1 H W"]
) -> tuple[Float[np.ndarray, "V"], Bool[np.ndarray, "V"]]:
    """How far, in metres along its normal, each vertex is from the picture's outline, and for which that is known."""
    turn = camera.world_to_camera[0].double().numpy()
    seen, across = points @ turn[:, :3].T + turn[:, 3], normals @ turn[:, :3].T
    toward = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    flat = np.linalg.norm(across[:, :2], axis=1)
    focal = camera.intrinsics[0].double().numpy()
    pixel = (seen @ focal.T)[:, :2] / seen[:, 2:]
    offsets = np.arange(-REACH, REACH + 1e-9, 1.0 / SAMPLES_A_PIXEL)
    line = pixel[:, None] + offsets[None, :, None] * (across[:, :2] / np.maximum(flat, 1e-9)[:, None])[:, None]
    own, wanted = (_sampled(mask, line) for mask in (_coverage(points, faces, camera)[None], alpha))
    outside = (own[:, -1] < 0.5) & (wanted[:, -1] < 0.5)
    inside = (own[:, 0] > 0.5) & (wanted[:, 0] > 0.5)
    sideways = np.abs((across * toward).sum(axis=1)) < SIDEWAYS
    distance = (wanted - own).sum(axis=1) / SAMPLES_A_PIXEL
    metres = distance * seen[:, 2] / focal[0, 0] / np.maximum(flat, 0.5)
    return metres, outside & inside & sideways


def _coverage(points: np.ndarray, faces: np.ndarray, camera: CameraBatch) -> Float[Tensor, "H W"]:
    mask = torch.zeros(camera.height * camera.width)
    mask[torch.tensor(rasterize(points, faces, camera).pixel)] = 1.0
    return mask.reshape(camera.height, camera.width)


def _sampled(mask: Float[Tensor, "1 H W"], pixels: Float[np.ndarray, "V S 2"]) -> Float[np.ndarray, "V S"]:
    size = torch.tensor([mask.shape[2], mask.shape[1]])
    place = 2.0 * torch.tensor(pixels, dtype=torch.float32) / size - 1.0
    return torch.nn.functional.grid_sample(mask[None], place[None], align_corners=False)[0, 0].numpy()
