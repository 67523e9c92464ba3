"""``raymarch`` on a CPU: the C++ kernel of ``raymarch.cpp`` as an autograd function, float32."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.errors import VrmmError
from prior.native import BufferPool, load_library
from prior.raymarch.scene import Scene

_SOURCE = Path(__file__).parent / "raymarch.cpp"
_POOL = BufferPool(kept=2)


class _Problem(ctypes.Structure):
    """``struct Problem`` of raymarch.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "rays", "primitives", "depth", "height", "width")),
        *((name, ctypes.c_int64) for name in ("image_height", "image_width", "threads")),
        *((name, ctypes.c_double) for name in ("step", "fade_scale", "fade_exponent")),
        *((name, ctypes.c_void_p) for name in ("origin", "direction", "near_far")),
        *((name, ctypes.c_void_p) for name in ("center", "rotation", "half_size", "voxels")),
    )


@functools.cache
def kernel() -> ctypes.CDLL:
    """The compiled kernel with typed entry points.

    Raises:
        VrmmError: it cannot be built on this machine.
    """
    library = load_library(_SOURCE)
    problem, pointer, status = ctypes.POINTER(_Problem), ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32)
    library.vrmm_raymarch_forward.argtypes = [problem, pointer, ctypes.c_int32, status]
    library.vrmm_raymarch_forward.restype = pointer
    library.vrmm_raymarch_backward.argtypes = [problem, *[pointer] * 6, status]
    library.vrmm_raymarch_backward.restype = None
    library.vrmm_raymarch_free.argtypes = [pointer]
    library.vrmm_raymarch_free.restype = None
    library.vrmm_raymarch_problem_size.restype = ctypes.c_int64
    if library.vrmm_raymarch_problem_size() != ctypes.sizeof(_Problem):
        raise VrmmError("the compiled raymarcher does not match prior/raymarch/cpu.py; reinstall vrmm")
    return library


def march(scene: Scene) -> Tensor:
    """The ``rgba`` [B,R,4] of the contract in ``prior.raymarch.raymarch``.

    Raises:
        VrmmError: inputs that are not float32 on a CPU, no compiler, or no memory.
    """
    if scene.voxels.dtype != torch.float32 or scene.voxels.device.type != "cpu":
        raise VrmmError(
            f"raymarch: backend 'cpu' takes float32 on a CPU, not {scene.voxels.dtype} on {scene.voxels.device}; "
            f"convert the inputs or use backend 'reference'"
        )
    differentiated = (scene.center, scene.rotation, scene.half_size, scene.voxels)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in differentiated):
        return _March.apply(*differentiated, scene)
    with torch.no_grad():
        return _forward(_Call(scene, *differentiated), keep=False)[0]


class _Call:
    """The inputs as contiguous memory, and the kernel's description of them. Holds what it points to."""

    def __init__(self, scene: Scene, center: Tensor, rotation: Tensor, half_size: Tensor, voxels: Tensor) -> None:
        self.rays = [t.contiguous() for t in (scene.ray_origin, scene.ray_direction, scene.near_far)]
        self.primitives = [t.detach().contiguous() for t in (center, rotation, half_size, voxels)]
        height, width = scene.image_shape or (0, 0)
        self.problem = _Problem(
            *(scene.images, scene.rays, scene.primitives, *voxels.shape[2:5]),
            *(height, width, torch.get_num_threads()),
            *(scene.step_size, scene.fade_scale, scene.fade_exponent),
            *(tensor.data_ptr() for tensor in (*self.rays, *self.primitives)),
        )


class _Record:
    """What the kernel's forward pass keeps for its backward pass; freed with this object."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._free = kernel().vrmm_raymarch_free

    def __del__(self) -> None:
        self._free(self.handle)


def _forward(call: _Call, keep: bool) -> tuple[Tensor, _Record | None]:
    rgba = torch.empty(call.problem.images, call.problem.rays, 4)
    status = ctypes.c_int32()
    handle = kernel().vrmm_raymarch_forward(call.problem, rgba.data_ptr(), keep, status)
    _check(status)
    return rgba, _Record(handle) if keep else None


def _check(status: ctypes.c_int32) -> None:
    if status.value:
        raise VrmmError("raymarch: out of memory; render fewer rays or primitives at once")


class _March(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, center: Tensor, rotation: Tensor, half_size: Tensor, voxels: Tensor, scene: Scene) -> Tensor:
        call = _Call(scene, center, rotation, half_size, voxels)
        rgba, ctx.record = _forward(call, keep=True)
        # The inputs are saved to notice changes in place; the kernel reads the contiguous ones of the call.
        ctx.save_for_backward(center, rotation, half_size, voxels)
        ctx.call = call
        return rgba

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        gradients = [torch.empty(tensor.shape) for tensor in tensors[:3]]
        gradients.append(_POOL.tensor(tuple(tensors[3].shape)))
        status = ctypes.c_int32()
        call: _Call = ctx.call
        call.problem.threads = torch.get_num_threads()
        upstream = grad.contiguous()
        pointers = [tensor.data_ptr() for tensor in gradients]
        kernel().vrmm_raymarch_backward(call.problem, ctx.record.handle, upstream.data_ptr(), *pointers, status)
        _check(status)
        return (*gradients, None)
