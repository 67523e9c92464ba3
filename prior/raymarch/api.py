"""``raymarch``: the one name of the operation; the backends behind it agree on values and gradients."""

import functools
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from prior.raymarch import cpu, reference, triton
from prior.raymarch.scene import Scene

_BACKENDS: dict[str, Callable[[Scene], Tensor]] = {
    "cpu": cpu.march,
    "reference": reference.march,
    "triton": triton.march,
}


def available_backends(device: str = "any") -> tuple[str, ...]:
    """Names that ``raymarch(backend=...)`` accepts and that work on this machine (builds the CPU kernel).

    Args:
        device: ``"cpu"`` leaves out what takes no tensors of the CPU.
    """
    names = ("reference",) if _cpu_problem() else ("cpu", "reference")
    return names if device == "cpu" or triton.problem() else (*names, "triton")


def raymarch(
    ray_origin: Float[Tensor, "B R 3"],
    ray_direction: Float[Tensor, "B R 3"],
    near_far: Float[Tensor, "B R 2"],
    step_size: float,
    center: Float[Tensor, "B K 3"],
    rotation: Float[Tensor, "B K 3 3"],
    half_size: Float[Tensor, "B K 3"],
    voxels: Float[Tensor, "B K D H W 4"],
    fade_scale: float = 8.0,
    fade_exponent: float = 8.0,
    backend: str = "auto",
    image_shape: tuple[int, int] | None = None,
) -> Float[Tensor, "B R 4"]:
    """Accumulate colour and opacity along rays through oriented boxes of voxels (MVP, arXiv 2103.01954, eq. 1-2).

    Sample i of a ray is at t = near + i * step_size, i = 0, 1, ..., while t <= far. A primitive counts there if
    all |y| <= 1, y = rotation^T (x - center) / half_size. Its voxels are interpolated linearly, y = -1 and
    y = +1 at the centres of the first and last voxel; z along D, y along H, x along W.
    a = opacity * exp(-fade_scale * sum(|y|^fade_exponent)) * step_size; within a step primitives add in ascending
    index: w = min(alpha + a, 1) - alpha; rgb += w * colour; alpha += w. The ray stops at alpha = 1.

    Rays and primitives share one frame (head or world), in metres. Gradients flow to center, rotation, half_size
    and voxels; rays are not differentiated.

    Args:
        ray_origin: [B,R,3] metres.
        ray_direction: [B,R,3] of unit length.
        near_far: [B,R,2] metres along the ray, near <= far.
        step_size: metres between samples.
        center: [B,K,3] centres of the boxes, metres.
        rotation: [B,K,3,3] whose columns are the axes of the box.
        half_size: [B,K,3] half edge lengths along those axes, metres, positive.
        voxels: [B,K,D,H,W,4] linear rgb, then opacity per metre; D, H, W >= 2.
        fade_scale: strength of the fade towards the faces of a box, at least 0.
        fade_exponent: its sharpness, at least 1; 8 is the fastest.
        backend: ``"auto"`` or one of ``available_backends()``; ``"auto"`` takes the kernel for the device if
            there is one that works, else the reference, which is slow.
        image_shape: (height, width) when the rays are an image in row order. Neighbouring rays are then handled
            together, which is faster; values are the same.

    Returns:
        [B,R,4] premultiplied rgb and alpha; no background is added.

    Raises:
        VrmmError: an input of the wrong shape, type, device or range, an unknown backend, or one that does not
            work here.
    """
    scene = Scene(
        ray_origin=ray_origin,
        ray_direction=ray_direction,
        near_far=near_far,
        step_size=step_size,
        center=center,
        rotation=rotation,
        half_size=half_size,
        voxels=voxels,
        fade_scale=fade_scale,
        fade_exponent=fade_exponent,
        image_shape=image_shape,
    )
    return _backend(backend, scene)(scene)


def _backend(name: str, scene: Scene) -> Callable[[Scene], Tensor]:
    if name == "auto":
        return _automatic(scene)
    if name not in _BACKENDS:
        raise VrmmError(f"raymarch: unknown backend {name!r}; choose auto, {', '.join(_BACKENDS)}")
    return _BACKENDS[name]


def _automatic(scene: Scene) -> Callable[[Scene], Tensor]:
    kernels = {"cpu": (cpu.march, _cpu_problem), "cuda": (triton.march, triton.problem)}
    device = scene.voxels.device.type
    if scene.voxels.dtype != torch.float32 or device not in kernels:
        return reference.march
    march, problem = kernels[device]
    if not problem():
        return march
    _warn_once(problem())
    return reference.march


@functools.cache
def _cpu_problem() -> str:
    """Why the CPU kernel cannot be used; empty if it can. Asked once a process."""
    try:
        cpu.kernel()
    except VrmmError as error:
        return str(error)
    return ""


@functools.cache
def _warn_once(problem: str) -> None:
    warnings.warn(f"raymarch uses the slow reference backend because {problem}", RuntimeWarning, stacklevel=4)
