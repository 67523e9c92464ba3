"""The meaning of ``raymarch`` in plain PyTorch: any device, float32 or float64, differentiated by autograd.

Every (ray, step, primitive) with all |y| <= 1 becomes one row of a table. The rows are found without
gradients from the slab test of each ray against each oriented box, put in the order of the contract
(ray, then step, then primitive), evaluated together, and accumulated ray by ray (MVP, arXiv 2103.01954, eq. 1-2).
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from prior.raymarch.scene import Scene

_PAIRS_AT_ONCE = 2**20


def march(scene: Scene) -> Tensor:
    """The ``rgba`` [B,R,4] of the contract in ``prior.raymarch.raymarch``."""
    last = scene.last_step()
    rays_at_once = max(1, _PAIRS_AT_ONCE // max(scene.primitives, 1))
    images = []
    for image in range(scene.images):
        parts = [
            _march_rays(scene, image, slice(start, start + rays_at_once), last)
            for start in range(0, scene.rays, rays_at_once)
        ]
        images.append(torch.cat(parts) if parts else scene.voxels.new_zeros(0, 4))
    return torch.stack(images) if images else scene.voxels.new_zeros(0, scene.rays, 4)


def _march_rays(scene: Scene, image: int, rays: slice, last: Tensor) -> Tensor:
    """Rays ``rays`` of one image -> [n,4]."""
    with torch.no_grad():
        samples = samples_inside(scene, image, rays, last[image, rays])
    ray, _, primitive = samples
    y = local_coordinates(scene, image, rays, samples)
    value = _trilinear(scene.voxels[image], primitive, y)
    w = absorbed(ray, value[:, 3] * fade(scene, y) * scene.step_size)
    rgba = torch.cat([value[:, :3], torch.ones_like(value[:, :1])], dim=-1) * w[:, None]
    return rgba.new_zeros(scene.ray_origin[image, rays].shape[0], 4).index_add(0, ray, rgba)


def fade(scene: Scene, y: Tensor) -> Tensor:
    """How much of a voxel's opacity is left at y [N,3], near the faces of its box less -> [N]."""
    return torch.exp(-scene.fade_scale * y.abs().pow(scene.fade_exponent).sum(-1))


def local_coordinates(scene: Scene, image: int, rays: slice, samples: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """y = rotation^T (x - center) / half_size at x = origin + t direction, t = near + i step_size -> [N,3]."""
    ray, step, primitive = samples
    origin, direction = scene.ray_origin[image, rays], scene.ray_direction[image, rays]
    t = scene.near_far[image, rays, 0][ray] + step.to(origin.dtype) * scene.step_size
    x = origin[ray] + t[:, None] * direction[ray]
    offset = x - scene.center[image].index_select(0, primitive)
    rotation = scene.rotation[image].index_select(0, primitive)
    turned = (rotation * offset[:, :, None]).sum(1)
    return turned / scene.half_size[image].index_select(0, primitive)


def samples_inside(scene: Scene, image: int, rays: slice, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ray, step and primitive [N] of all samples inside a primitive, in the order of accumulation."""
    ray, primitive, first, end = _hits(scene, image, rays, last)
    count = end - first + 1
    start = count.cumsum(0) - count
    hit = torch.repeat_interleave(count)
    step = torch.arange(len(hit), device=hit.device) - start[hit] + first[hit]
    ray, primitive = ray[hit], primitive[hit]
    inside = (local_coordinates(scene, image, rays, (ray, step, primitive)).abs() <= 1).all(-1)
    ray, step, primitive = ray[inside], step[inside], primitive[inside]
    steps = int(last.max()) + 1 if len(last) else 1
    order = torch.argsort((ray * steps + step) * scene.primitives + primitive)
    return ray[order], step[order], primitive[order]


def _hits(scene: Scene, image: int, rays: slice, last: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ray and primitive [M] of every ray that meets a box, and the first and last step that can lie inside.

    The slab test finds where |y| <= 1 holds along each axis; a margin of one step and 0.1 % of the box
    absorbs its rounding, because the samples are tested one by one afterwards.
    """
    rotation, half_size = scene.rotation[image], scene.half_size[image]
    start = torch.einsum("rkm,kma->rka", scene.ray_origin[image, rays][:, None] - scene.center[image], rotation)
    start = start / half_size
    slope = torch.einsum("rm,kma->rka", scene.ray_direction[image, rays], rotation) / half_size
    slope = torch.where(slope.abs() < 1e-12, torch.full_like(slope, 1e-12), slope)
    one, other = (-1.001 - start) / slope, (1.001 - start) / slope
    enter = torch.minimum(one, other).amax(-1)
    leave = torch.maximum(one, other).amin(-1)
    near = scene.near_far[image, rays, :1]
    end_of_ray = last[:, None].to(near.dtype)
    first = ((enter - near) / scene.step_size).ceil().sub(1).clamp_min(0)
    end = torch.minimum(((leave - near) / scene.step_size).floor() + 1, end_of_ray)
    ray, primitive = ((enter <= leave) & (first <= end)).nonzero().unbind(-1)
    return ray, primitive, first[ray, primitive].long(), end[ray, primitive].long()


def corners(shape: torch.Size, primitive: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The eight voxels around y [N,3] as flat indices [N] and weights [N], for voxels of ``shape`` [K,D,H,W,…]."""
    depth, height, width = shape[1:4]
    size = torch.tensor([width, height, depth], device=y.device)
    u = (y + 1) * ((size - 1) / 2).to(y.dtype)
    low = torch.minimum(u.detach().floor().long(), size - 2).clamp_min(0)
    weight = torch.stack([1 - (u - low), u - low])
    first = ((primitive * depth + low[:, 2]) * height + low[:, 1]) * width + low[:, 0]
    for z, h, w in itertools.product(range(2), repeat=3):
        yield first + (z * height + h) * width + w, weight[z, :, 2] * weight[h, :, 1] * weight[w, :, 0]


def _trilinear(voxels: Tensor, primitive: Tensor, y: Tensor) -> Tensor:
    """Values [N,4] of ``voxels`` [K,D,H,W,4] at y [N,3]: x along W, y along H, z along D, align_corners."""
    flat = voxels.reshape(-1, voxels.shape[-1])
    value = flat.new_zeros(len(y), voxels.shape[-1])
    for index, weight in corners(voxels.shape, primitive, y):
        value = value + weight[:, None] * flat.index_select(0, index)
    return value


def absorbed(ray: Tensor, a: Tensor) -> Tensor:
    """w = min(alpha + a, 1) - alpha in order along each ray [N].

    ``ray`` [N] is ascending. A ray whose alpha has reached 1 has stopped.
    """
    met, row, count = torch.unique_consecutive(ray, return_inverse=True, return_counts=True)
    column = torch.arange(len(ray), device=ray.device) - (count.cumsum(0) - count)[row]
    shape = (len(met), int(count.max()) if len(count) else 0)
    padded = a.new_zeros(shape).index_put((row, column), a)
    reached = padded.cumsum(1)
    before = torch.nn.functional.pad(reached, (1, 0))[:, :-1] if shape[1] else reached
    stopped = (before.detach() >= 1).int().cumsum(1) > 0
    saturating = (reached.detach() >= 1).logical_and(~stopped)
    return torch.where(saturating, 1 - before, padded).masked_fill(stopped, 0.0)[row, column]
