"""What each ray takes from each voxel: raymarching as the linear map that it is once the opacity is known.

A march is linear in the voxels' colour. With the map at hand, any number of quantities that live on voxels (colours
under many lights, positions) follow the same rays for the price of a sparse product each.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from prior.raymarch import reference
from prior.raymarch.scene import Scene

_PAIRS_AT_ONCE = 2**20


@torch.no_grad()
def transport(
    ray_origin: Float[Tensor, "R 3"],
    ray_direction: Float[Tensor, "R 3"],
    near_far: Float[Tensor, "R 2"],
    step_size: float,
    center: Float[Tensor, "K 3"],
    rotation: Float[Tensor, "K 3 3"],
    half_size: Float[Tensor, "K 3"],
    opacity: Float[Tensor, "K D H W"],
    fade_scale: float = 8.0,
    fade_exponent: float = 8.0,
) -> Float[Tensor, "R N"]:
    """The sparse matrix M [R, K·D·H·W] of one image: ``raymarch`` gives M @ colours, and alpha is M's row sums.

    Arguments are those of ``prior.raymarch.raymarch`` without the batch; ``opacity`` is per metre.

    Raises:
        VrmmError: as ``raymarch`` does.
    """
    voxels = torch.cat([opacity.new_zeros(*opacity.shape, 3), opacity[..., None]], dim=-1)
    scene = Scene(
        ray_origin=ray_origin[None],
        ray_direction=ray_direction[None],
        near_far=near_far[None],
        step_size=step_size,
        center=center[None],
        rotation=rotation[None],
        half_size=half_size[None],
        voxels=voxels[None],
        fade_scale=fade_scale,
        fade_exponent=fade_exponent,
        image_shape=None,
    )
    at_once = max(1, _PAIRS_AT_ONCE // max(scene.primitives, 1))
    last = scene.last_step()[0]
    parts = [
        _rows(scene, opacity, slice(start, start + at_once), last[start : start + at_once], start)
        for start in range(0, scene.rays, at_once)
    ]
    index = torch.cat([part[0] for part in parts], dim=1) if parts else torch.zeros(2, 0, dtype=torch.long)
    value = torch.cat([part[1] for part in parts]) if parts else opacity.new_zeros(0)
    size = (scene.rays, opacity.numel())
    return torch.sparse_coo_tensor(index, value, size, check_invariants=False).coalesce()


def _rows(scene: Scene, opacity: Tensor, rays: slice, last: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Indices [2, M] and values [M] of some rows of the map; an entry may come in parts, which add up."""
    samples = reference.samples_inside(scene, 0, rays, last)
    ray, _, primitive = samples
    y = reference.local_coordinates(scene, 0, rays, samples)
    around = list(reference.corners(opacity.shape, primitive, y))
    density = sum((weight * opacity.reshape(-1)[index] for index, weight in around), start=y.new_zeros(len(y)))
    w = reference.absorbed(ray, density * reference.fade(scene, y) * scene.step_size)
    kept = w > 0
    row = (ray[kept] + start).repeat(len(around))
    column = torch.cat([index[kept] for index, _ in around])
    return torch.stack([row, column]), torch.cat([weight[kept] * w[kept] for _, weight in around])
