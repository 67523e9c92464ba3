"""``assemble`` on a CPU: the C++ kernel of ``assemble.cpp`` as an autograd function, float32."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.errors import VrmmError
from prior.assemble.inputs import DIMENSIONS, Layout, is_native
from prior.native import BufferPool, load_library

_SOURCE = Path(__file__).parent / "assemble.cpp"
_POOL = BufferPool(kept=2)


class _Sizes(ctypes.Structure):
    """``struct Sizes`` of assemble.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("batch", "views", "grid", "texels", "depth", "block", "opacity", "gain", "light")
    )


class _Tensors(ctypes.Structure):
    """``struct Tensors`` of assemble.cpp."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in DIMENSIONS)


@functools.cache
def kernel() -> ctypes.CDLL:
    """The compiled kernel with typed entry points.

    Raises:
        VrmmError: it cannot be built on this machine.
    """
    library = load_library(_SOURCE)
    sizes, tensors, pointer = ctypes.POINTER(_Sizes), ctypes.POINTER(_Tensors), ctypes.c_void_p
    common = [sizes, tensors, ctypes.c_float, ctypes.c_int32, pointer]
    library.vrmm_assemble_forward.argtypes = common
    library.vrmm_assemble_forward.restype = None
    library.vrmm_assemble_backward.argtypes = [*common, tensors]
    library.vrmm_assemble_backward.restype = None
    return library


def assemble(tensors: dict[str, Tensor], layout: Layout, density: float) -> Tensor:
    """The ``voxels`` [B,V,K,D,H,W,4] of the contract in ``prior.assemble.assemble``.

    Raises:
        VrmmError: inputs that are not float32 on a CPU, or no compiler.
    """
    if not is_native(tensors):
        first = tensors["opacity_features"]
        raise VrmmError(
            f"assemble: backend 'cpu' takes float32 on a CPU, not {first.dtype} on {first.device}; "
            f"convert the inputs or use backend 'reference'"
        )
    return _Assemble.apply(layout, density, *(tensors[name] for name in DIMENSIONS))


class _Assemble(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, density: float, *tensors: Tensor) -> Tensor:
        ctx.layout, ctx.density = layout, density
        # The inputs are saved as the kernel reads them, so that the backward pass need not copy again.
        contiguous = [tensor.contiguous() for tensor in tensors]
        ctx.save_for_backward(*contiguous)
        voxels = _POOL.tensor(layout.voxels_shape)
        sizes, pointers = _sizes(layout, contiguous), _pointers(contiguous)
        kernel().vrmm_assemble_forward(sizes, pointers, density, torch.get_num_threads(), voxels.data_ptr())
        return voxels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in tensors]
        upstream = grad.contiguous()
        kernel().vrmm_assemble_backward(
            _sizes(ctx.layout, tensors),
            _pointers(tensors),
            ctx.density,
            torch.get_num_threads(),
            upstream.data_ptr(),
            _pointers(gradients),
        )
        return (None, None, *gradients)


def _sizes(layout: Layout, tensors: Sequence[Tensor]) -> _Sizes:
    features = (tensors[0].shape[-1], tensors[1].shape[-1], tensors[2].shape[-1])
    return _Sizes(layout.batch, layout.views, layout.grid, layout.texels, layout.depth, layout.block, *features)


def _pointers(tensors: Sequence[Tensor]) -> _Tensors:
    return _Tensors(*(tensor.data_ptr() for tensor in tensors))
