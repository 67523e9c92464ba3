"""A head-like scene for raymarching: primitives on an ellipsoid, seen by cameras around it."""

import dataclasses
import math

import torch
from torch import Tensor

_RADII = (0.085, 0.115, 0.100)
_BOX = 0.13
_DISTANCE = 1.0
_FRAME = 0.29


@dataclasses.dataclass(frozen=True, kw_only=True)
class EllipsoidScene:
    """The arguments of ``prior.raymarch.raymarch`` with the same names, in metres, float32."""

    ray_origin: Tensor
    ray_direction: Tensor
    near_far: Tensor
    step_size: float
    center: Tensor
    rotation: Tensor
    half_size: Tensor
    voxels: Tensor
    image_shape: tuple[int, int]


def ellipsoid_scene(
    *, images: int, size: int, steps: int, primitives: int, voxels: int, opacity: float = 60.0, seed: int = 0
) -> EllipsoidScene:
    """B images of size² pixels in which 2 to 4 primitives overlap at the surface.

    Half of the rays meet a primitive and most of those saturate.
    Half sizes are 0.85 of the distance to the neighbours along the surface and 1 cm across it. Opacities are
    uniform in [0, 2 ``opacity``] per metre; ``steps`` samples cross the box of 26 cm in which rays are marched.
    """
    generator = torch.Generator().manual_seed(seed)
    origin, direction = _rays(images, size, generator)
    center, rotation, half_size = _primitives(primitives)
    jitter = torch.randn(images, primitives, 3, generator=generator, dtype=torch.float64)
    turn = 0.05 * torch.randn(images, primitives, 3, 3, generator=generator, dtype=torch.float64)
    values = torch.rand(images, primitives, voxels, voxels, voxels, 4, generator=generator)
    values[..., 3] *= 2 * opacity
    return EllipsoidScene(
        ray_origin=origin.float(),
        ray_direction=direction.float(),
        near_far=_clip(origin, direction).float(),
        step_size=2 * _BOX / steps,
        center=(center + 0.002 * jitter).float(),
        rotation=(rotation @ torch.linalg.matrix_exp(turn - turn.mT)).float(),
        half_size=half_size.expand(images, -1, -1).float().contiguous(),
        voxels=values,
        image_shape=(size, size),
    )


def _rays(images: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pinhole cameras at 1 m that look at the origin from random sides -> [B,R,3] twice."""
    pixel = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    toward = torch.stack([x, -y, -torch.full_like(x, _DISTANCE / _FRAME)], -1).reshape(-1, 3)
    toward = toward / toward.norm(dim=-1, keepdim=True)
    angle = torch.rand(images, 2, generator=generator, dtype=torch.float64) - 0.5
    turn = torch.zeros(images, 3, 3, dtype=torch.float64)
    turn[:, 0, 2], turn[:, 1, 2] = 2.5 * angle[:, 0], -0.6 * angle[:, 1]
    turn = torch.linalg.matrix_exp(turn - turn.mT)
    origin = (turn @ torch.tensor([0.0, 0.0, _DISTANCE], dtype=torch.float64))[:, None].expand(-1, size * size, -1)
    return origin.contiguous(), toward @ turn.mT


def _clip(origin: Tensor, direction: Tensor) -> Tensor:
    """Near and far [B,R,2] of the box around the head; a ray that misses it has near = far."""
    slope = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
    one, other = (-_BOX - origin) / slope, (_BOX - origin) / slope
    near, far = torch.minimum(one, other).amax(-1), torch.maximum(one, other).amin(-1)
    return torch.stack([near, torch.maximum(near, far)], -1)


def _primitives(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres [K,3] on a Fibonacci spiral, rotations [K,3,3] with z along the normal, half sizes [K,3]."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    polar, around = torch.acos(1 - 2 * index / count), math.pi * (1 + math.sqrt(5)) * index
    sphere = torch.stack([around.cos() * polar.sin(), polar.cos(), around.sin() * polar.sin()], -1)
    radii = torch.tensor(_RADII, dtype=torch.float64)
    center, normal = sphere * radii, sphere / radii
    z = normal / normal.norm(dim=-1, keepdim=True)
    x = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.01], dtype=torch.float64).expand_as(z), z)
    x = x / x.norm(dim=-1, keepdim=True)
    rotation = torch.stack([x, torch.linalg.cross(z, x), z], -1)
    neighbour = torch.cdist(center, center).sort(-1).values[:, 1:5].mean(-1)
    half_size = torch.stack([0.85 * neighbour, 0.85 * neighbour, torch.full_like(neighbour, 0.01)], -1)
    return center, rotation, half_size
