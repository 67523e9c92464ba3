"""Splats that look like a volume: begun on its surface, then fitted to its pictures."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from prior.cameras import CameraBatch
from prior.surface import Surface
from tools.export.splats import LOW_PASS, Footprint, Splats, footprint_weights, splat_footprint

Progress = Callable[[int, int], object]

OVERLAP = 0.6
"""Standard deviation of a splat along the surface at the start, in distances to its neighbours."""
FLATNESS = 0.25
"""Thickness at the start, in the smaller of the others."""
LONGEST = 2.5
"""The longer of the two, in the shorter one or the typical one, so that none stands out as a spike."""
SMOOTHING = 0.55
"""Least standard deviation of a splat, in the typical distance between neighbours. Whatever is narrower than a pixel
shows nowhere in the pictures, but leaves gaps and stands out as a speck where the splats are looked at from nearer (the
reason for the 3-D smoothing filter of Yu et al., Mip-Splatting, CVPR 2024)."""
NEIGHBOURS = 4
STRIDE = 2
"""Only every n-th pixel of a picture is compared in a step, another one each time."""
RATES = {"center": 3e-4, "scale": 0.03, "opacity": 0.1, "plain": 0.01, "varied": 0.003}
"""Steps of the optimiser: metres, logarithm, logit, display values of the first harmonic and of the others."""


def splats_on_surface(surface: Surface, harmonics: Float[Tensor, "V 16 3"]) -> tuple[Splats, Int[Tensor, "N"]]:
    """One flat splat on every point of a surface, as wide as the distances to its neighbours there.

    ``harmonics`` are the colours at the vertices (``Splats.harmonics``). Returned with the vertex of each splat.
    """
    mesh = surface.mesh
    first = np.unique(mesh.weld, return_index=True)[1]
    points, normals = surface.points[first], surface.normals[first]
    edges = mesh.weld[mesh.edges()]
    step = points[edges[:, 0]] - points[edges[:, 1]]
    step = np.concatenate([step, -step])
    ends = edges.T.reshape(-1)
    spread = np.zeros((len(points), 3, 3))
    np.add.at(spread, ends, step[:, :, None] * step[:, None])
    spread /= np.maximum(np.bincount(ends, minlength=len(points)), 1)[:, None, None]
    along = np.eye(3) - normals[:, :, None] * normals[:, None]
    squares, axes = np.linalg.eigh(along @ spread @ along)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]
    scale = OVERLAP * np.sqrt(np.maximum(squares, 1e-8))
    scale[:, 2] = np.minimum(scale[:, 2], LONGEST * np.maximum(scale[:, 1], np.median(scale[:, 1])))
    scale[:, 0] = FLATNESS * scale[:, 1]
    turn = Rotation.from_matrix(axes).as_quat(scalar_first=True)
    center, normal, rotation, width, opacity = (
        torch.tensor(value, dtype=torch.float32) for value in (points, normals, turn, scale, surface.alpha[first])
    )
    vertices = torch.tensor(first)
    splats = Splats(
        center=center,
        normal=normal,
        rotation=rotation,
        scale=width,
        opacity=opacity.clamp(0.02, 0.97),
        harmonics=harmonics[vertices],
    )
    return splats, vertices


def narrowest_splat(points: Float[Tensor, "N 3"]) -> float:
    """The least standard deviation, metres, with which splats at these points of a surface leave no gaps in it."""
    near, _ = KDTree(points.numpy()).query(points.numpy(), k=min(NEIGHBOURS + 1, len(points)))
    return SMOOTHING * float(np.median(near[:, 1:].mean(axis=1)))


def fit_splats(
    splats: Splats,
    cameras: CameraBatch,
    pictures: Float[Tensor, "V 3 H W"],
    alphas: Float[Tensor, "V 1 H W"],
    *,
    steps: int,
    narrowest: float,
    progress: Progress | None = None,
) -> Splats:
    """Move, scale, thin and colour the splats until they look like the pictures.

    Args:
        splats: to begin with.
        cameras: of the pictures, head frame.
        pictures: display values over black.
        alphas: how much of each ray the volume stops.
        steps: of Adam, one picture each.
        narrowest: standard deviation, metres, below which no splat shrinks (``narrowest_splat``).
        progress: called with (steps done, steps in all).
    """
    least = narrowest**2
    free = {
        "center": splats.center.clone(),
        "scale": 0.5 * (splats.scale**2 - least).clamp(min=0.1 * least).log(),
        "opacity": torch.logit(splats.opacity),
        "plain": splats.harmonics[:, :1].clone(),
        "varied": splats.harmonics[:, 1:].clone(),
    }
    groups = [{"params": [value.requires_grad_()], "lr": RATES[name]} for name, value in free.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    generator = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(len(pictures), generator=generator) for _ in range(-(-steps // len(pictures)))])
    for step in range(steps):
        view, phase = int(order[step]), torch.randint(STRIDE, (2,), generator=generator).tolist()
        current = _splats(splats, free, least)
        camera = _every_nth(cameras, view, phase)
        target, alpha = (images[view, :, phase[0] :: STRIDE, phase[1] :: STRIDE] for images in (pictures, alphas))
        loss = _difference(current, camera, target, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    return _splats(splats, {name: value.detach() for name, value in free.items()}, least)


def _rate(step: int, steps: int) -> float:
    """A cosine from 1 down to 0.05."""
    return 0.05 + 0.95 * 0.5 * (1.0 + float(np.cos(np.pi * step / steps)))


def _splats(start: Splats, free: dict[str, Tensor], least: float) -> Splats:
    """Those that the unknowns stand for; the variance of each is ``least`` [metres²] and more."""
    return dataclasses.replace(
        start,
        center=free["center"],
        scale=(torch.exp(2.0 * free["scale"]) + least).sqrt(),
        opacity=torch.sigmoid(free["opacity"]),
        harmonics=torch.cat([free["plain"], free["varied"]], dim=1),
    )


def _every_nth(cameras: CameraBatch, view: int, phase: list[int]) -> CameraBatch:
    """The camera whose pixels are every ``STRIDE``-th one of a picture, beginning at ``phase`` (row, column)."""
    lens = cameras.intrinsics[view : view + 1].clone()
    shift = torch.tensor([phase[1], phase[0]]) + 0.5
    lens[:, :2, 2] -= shift
    lens[:, :2] /= STRIDE
    lens[:, :2, 2] += 0.5
    return CameraBatch(
        world_to_camera=cameras.world_to_camera[view : view + 1],
        intrinsics=lens,
        height=len(range(phase[0], cameras.height, STRIDE)),
        width=len(range(phase[1], cameras.width, STRIDE)),
    )


def _difference(splats: Splats, camera: CameraBatch, target: Tensor, alpha: Tensor) -> Tensor:
    low_pass = LOW_PASS / STRIDE**2
    footprint: Footprint = splat_footprint(splats, camera, low_pass)
    weight = footprint_weights(footprint, splats, camera, low_pass)
    values = torch.cat([splats.colors(camera.centers[0]), torch.ones(len(splats), 1)], dim=1)
    taken = weight[:, None] * values.index_select(0, footprint.splat)
    found = torch.zeros(camera.height * camera.width, 4).index_add(0, footprint.pixel, taken)
    wanted = torch.cat([target, alpha]).flatten(1).T
    return ((found - wanted) ** 2).mean()
