"""Small scenes for the tests of ``prior.raymarch``, and its contract once more as a dense float64 table."""

import math

import torch

from prior.raymarch import raymarch

DIFFERENTIATED = ("center", "rotation", "half_size", "voxels")


def axis_ray(*, start=-1.0, length=2.0, at=(0.0, 0.0), dtype=torch.float64):
    """One ray along +z from z = ``start`` through (x, y) = ``at``, near = 0."""
    return {
        "ray_origin": torch.tensor([[[*at, start]]], dtype=dtype),
        "ray_direction": torch.tensor([[[0.0, 0.0, 1.0]]], dtype=dtype),
        "near_far": torch.tensor([[[0.0, length]]], dtype=dtype),
    }


def boxes(count=1, *, half_size=0.5, colour=(1.0, 1.0, 1.0), opacity=1.0, size=(2, 2, 2), dtype=torch.float64):
    """``count`` boxes at the origin, unrotated and of constant content."""
    voxels = torch.tensor([*colour, opacity], dtype=dtype).expand(1, count, *size, 4).clone()
    return {
        "center": torch.zeros(1, count, 3, dtype=dtype),
        "rotation": torch.eye(3, dtype=dtype).expand(1, count, 3, 3).clone(),
        "half_size": torch.full((1, count, 3), half_size, dtype=dtype),
        "voxels": voxels,
    }


def random_scene(
    seed=0,
    *,
    images=2,
    height=6,
    width=5,
    primitives=8,
    size=(4, 3, 5),
    opacity=8.0,
    steps=24,
    spread=0.1,
    scatter=False,
):
    """Boxes around the origin seen from 1 m by a pinhole camera, or along scattered rays; float32 arguments."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    y, x = torch.meshgrid(torch.linspace(-0.2, 0.2, height), torch.linspace(-0.2, 0.2, width), indexing="ij")
    direction = torch.stack([x, y, -torch.ones_like(x)], -1).reshape(1, -1, 3).double().repeat(images, 1, 1)
    origin = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) + 0.02 * normal(images, 1, 3)
    origin = origin.expand_as(direction).clone()
    if scatter:
        direction = normal(images, height * width, 3)
        origin = 0.05 * normal(images, height * width, 3) - direction / direction.norm(dim=-1, keepdim=True)
    near = 0.7 + 0.02 * torch.rand(images, height * width, generator=generator, dtype=torch.float64)
    scene = {
        "ray_origin": origin,
        "ray_direction": direction / direction.norm(dim=-1, keepdim=True),
        "near_far": torch.stack([near, near + 0.6], -1),
        "step_size": 0.6 / steps,
        "center": spread * normal(images, primitives, 3),
        "rotation": torch.linalg.qr(normal(images, primitives, 3, 3))[0].contiguous(),
        "half_size": 0.06 + 0.08 * torch.rand(images, primitives, 3, generator=generator, dtype=torch.float64),
        "voxels": torch.rand(images, primitives, *size, 4, generator=generator, dtype=torch.float64),
    }
    scene["voxels"][..., 3] *= 2 * opacity
    return as_type(scene, torch.float32)


def as_type(scene, dtype):
    """The scene with its tensors converted; float32 to float64 loses nothing."""
    return {name: value.to(dtype) if isinstance(value, torch.Tensor) else value for name, value in scene.items()}


def render_and_differentiate(scene, upstream, backend, **options):
    """rgba and the gradients of sum(rgba * upstream), by name."""
    leaves = {name: scene[name].detach().clone().requires_grad_() for name in DIFFERENTIATED}
    rgba = raymarch(**{**scene, **leaves}, backend=backend, **options)
    gradients = torch.autograd.grad(rgba, tuple(leaves.values()), upstream.to(rgba.dtype))
    return rgba.detach(), dict(zip(leaves, gradients, strict=True))


def dense(scene, fade_scale=8.0, fade_exponent=8.0):
    """The contract over all rays, steps and primitives -> rgba [B,R,4], and which rays are fragile [B,R].

    A ray is fragile if rounding may change it by more than rounding: its opacity comes within 1e-5 of 1, or a
    sample within 1e-5 of the face of a box.
    """
    s = as_type(scene, torch.float64)
    near, far = s["near_far"].unbind(-1)
    steps = 1 + math.floor(float((far - near).max()) / s["step_size"] + 1)
    t = near[..., None] + torch.arange(steps, dtype=torch.float64) * s["step_size"]
    x = s["ray_origin"][:, :, None] + t[..., None] * s["ray_direction"][:, :, None]
    offset = x[:, :, :, None] - s["center"][:, None, None]
    y = torch.einsum("brskm,bkma->brska", offset, s["rotation"]) / s["half_size"][:, None, None]
    farthest = y.abs().amax(-1)
    inside = (farthest <= 1) & (t <= far[..., None])[..., None]
    value = _grid_sample(s["voxels"], y)
    a = value[..., 3] * torch.exp(-fade_scale * y.abs().pow(fade_exponent).sum(-1)) * s["step_size"] * inside
    a, colour = a.flatten(2), value[..., :3].flatten(2, 3)
    total = a.cumsum(-1)
    reached = total.clamp(max=1)
    weight = torch.diff(reached, dim=-1, prepend=torch.zeros_like(reached[..., :1]))
    rgba = torch.cat([(weight[..., None] * colour).sum(2), reached[..., -1:]], -1)
    near_face = ((farthest - 1).abs() < 1e-5).flatten(2).any(-1)
    near_full = ((total - 1).abs() < 1e-5).any(-1)
    return rgba, near_face | near_full


def _grid_sample(voxels, y):
    """torch's own trilinear interpolation -> [B,R,S,K,4]."""
    images, rays, steps, primitives, _ = y.shape
    grid = y.permute(0, 3, 1, 2, 4).reshape(images * primitives, rays, steps, 1, 3)
    volume = voxels.flatten(0, 1).permute(0, 4, 1, 2, 3)
    value = torch.nn.functional.grid_sample(volume, grid, align_corners=True, padding_mode="border")
    return value.reshape(images, primitives, 4, rays, steps).permute(0, 3, 4, 1, 2)
