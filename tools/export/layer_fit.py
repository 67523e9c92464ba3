"""Sheets that look like pictures: between the outlines of a head's dense inside and of its faintest outside."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from prior.finemesh import FineMesh
from tools.export.layers import LayeredMesh, layer_views, over
from tools.export.outline import fit_outlines
from tools.export.source import Pictures, one_camera
from tools.export.texture import bake_texture

DENSE, FAINT = 0.8, 0.2
"""Alpha from which on, and up to which, the outlines of the inside and of the outside are looked for."""
FIRST, LAST = 0.25, 1.25
"""Where the innermost and the outermost sheet lie on the way from the one to the other."""
STEPS = 400
COLOUR_RATE, OPACITY_RATE = 0.01, 0.05
START = -2.0
"""Logit of the opacity that all but the innermost sheet begin with."""
ALPHA_WEIGHT = 0.1
SMOOTH_COLOUR, SMOOTH_OPACITY = 5e-2, 5e-4
"""Weights of squared differences between neighbouring texels, for what no picture shows."""


def fit_layers(
    mesh: FineMesh, points: Float[np.ndarray, "V 3"], pictures: Pictures, *, layers: int, size: int
) -> LayeredMesh:
    """So many sheets around a surface, with textures of ``size``² texels, that look most like the pictures.

    One sheet alone has the outlines of the pictures and is opaque.
    """
    sheets = _sheets(mesh, points, pictures, layers)
    baked = bake_texture(sheets[0], mesh.uv, mesh.faces, pictures, size)
    textures = np.concatenate([baked, np.ones_like(baked[..., :1])], axis=-1)[None]
    if layers > 1:
        textures = _fit_textures(sheets, mesh, pictures, torch.tensor(baked, dtype=torch.float32))
    return LayeredMesh(points=sheets, uv=mesh.uv, faces=mesh.faces, textures=textures)


def _sheets(
    mesh: FineMesh, points: Float[np.ndarray, "V 3"], pictures: Pictures, layers: int
) -> Float[np.ndarray, "K V 3"]:
    if layers == 1:
        return fit_outlines(mesh, points, pictures)[None]
    dense = dataclasses.replace(pictures, alpha=((pictures.alpha - DENSE) / (1.0 - DENSE)).clamp(0.0, 1.0))
    faint = dataclasses.replace(pictures, alpha=(pictures.alpha / FAINT).clamp(0.0, 1.0))
    inside, outside = (fit_outlines(mesh, points, shown) for shown in (dense, faint))
    return np.stack([inside + way * (outside - inside) for way in np.linspace(FIRST, LAST, layers)])


def _fit_textures(
    sheets: Float[np.ndarray, "K V 3"], mesh: FineMesh, pictures: Pictures, baked: Float[Tensor, "T T 3"]
) -> Float[np.ndarray, "K T T 4"]:
    """Adam on colours and opacities, a picture a step."""
    size = len(baked)
    cameras = [one_camera(pictures.cameras, view) for view in range(len(pictures.values))]
    views = [layer_views(sheets, mesh.uv, mesh.faces, camera, size) for camera in cameras]
    wanted = torch.cat([pictures.values, pictures.alpha], dim=1).flatten(2).transpose(1, 2)
    colour = baked.flatten(0, 1).repeat(len(sheets), 1, 1).requires_grad_()
    logit = torch.full((len(sheets) - 1, size * size, 1), START).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [colour], "lr": COLOUR_RATE}, {"params": [logit], "lr": OPACITY_RATE}])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2.0 * (1.0 - step / STEPS)))
    chance = torch.Generator().manual_seed(0)
    order: list[int] = []
    for _ in range(STEPS):
        order = order or torch.randperm(len(views), generator=chance).tolist()
        view = order.pop()
        error = (over(views[view], list(_textures(colour, logit))) - wanted[view]) ** 2
        loss = error[:, :3].mean() + ALPHA_WEIGHT * error[:, 3].mean()
        loss = loss + SMOOTH_COLOUR * _roughness(colour, size) + SMOOTH_OPACITY * _roughness(logit, size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return _textures(colour, logit).detach().double().numpy().reshape(len(sheets), size, size, 4)


def _textures(colour: Float[Tensor, "K T2 3"], logit: Float[Tensor, "K1 T2 1"]) -> Float[Tensor, "K T2 4"]:
    opacity = torch.cat([torch.ones_like(logit[:1]), torch.sigmoid(logit)])
    return torch.cat([colour.clamp(0.0, 1.0), opacity], dim=-1)


def _roughness(texture: Float[Tensor, "K T2 C"], size: int) -> Float[Tensor, ""]:
    square = texture.unflatten(1, (size, size))
    return (square[:, 1:] - square[:, :-1]).square().mean() + (square[:, :, 1:] - square[:, :, :-1]).square().mean()
