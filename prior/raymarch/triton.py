"""``raymarch`` on a GPU: the kernels of ``triton_kernels.py`` as an autograd function, float32.

Neighbouring rays form tiles of 64, which march together past the boxes that their tile may meet. Gradients are summed
with atomic additions, so that their last bits differ from run to run; values do not.
"""

import functools
import importlib.util
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.errors import VrmmError
from prior.raymarch.scene import Scene

_SIDE = 8
_LANES = _SIDE * _SIDE


@functools.cache
def problem() -> str:
    """Why this backend cannot be used here; empty if it can. Asked once a process."""
    if importlib.util.find_spec("triton") is None:
        return 'triton is not installed; pip install "vrmm[gpu]"'
    if not (torch.cuda.is_available() or _interpreted()):
        return 'PyTorch finds no CUDA device; install a driver and PyTorch for CUDA, and pip install "vrmm[gpu]"'
    return ""


def march(scene: Scene) -> Tensor:
    """The ``rgba`` [B,R,4] of the contract in ``prior.raymarch.raymarch``.

    Raises:
        VrmmError: triton or CUDA is missing, or inputs that are not float32 on a CUDA device.
    """
    if problem():
        raise VrmmError(f"raymarch: backend 'triton' cannot be used: {problem()}")
    voxels = scene.voxels
    if voxels.dtype != torch.float32 or voxels.device.type != ("cpu" if _interpreted() else "cuda"):
        raise VrmmError(
            f"raymarch: backend 'triton' takes float32 on CUDA, not {voxels.dtype} on {voxels.device}; "
            f"convert the inputs or use backend 'reference'"
        )
    return _March.apply(scene.center, scene.rotation, scene.half_size, voxels, scene)


@functools.cache
def _interpreted() -> bool:
    """Whether Triton interprets its kernels on a CPU (TRITON_INTERPRET=1 at its import), as tests do."""
    import triton

    from prior.raymarch.triton_kernels import forward_kernel

    return not isinstance(forward_kernel, triton.JITFunction)


def _tile_order(rays: int, image_shape: tuple[int, int] | None, device: torch.device) -> Int[Tensor, "lanes"]:
    """Which ray each lane of the tiles holds, -1 for none: squares of an image, or rays that follow each other."""
    height, width = image_shape or (1, rays)
    tile_height, tile_width = (_SIDE, _SIDE) if image_shape else (1, _LANES)
    rows, columns = -(-height // tile_height), -(-width // tile_width)
    padded = torch.full((rows * tile_height, columns * tile_width), -1, device=device)
    padded[:height, :width] = torch.arange(rays, device=device).view(height, width)
    return padded.view(rows, tile_height, columns, tile_width).transpose(1, 2).flatten()


class _Tiles:
    """The rays of a scene, dealt to tiles of 64; those of an image follow each other."""

    def __init__(self, scene: Scene) -> None:
        order = _tile_order(scene.rays, scene.image_shape, scene.voxels.device)
        self._held, self._ray = order >= 0, order.clamp_min(0)
        self._lane = torch.empty(scene.rays, dtype=torch.int64, device=order.device)
        self._lane[order[self._held]] = self._held.nonzero()[:, 0]
        self._shape = (scene.images * (len(order) // _LANES), _LANES)
        start = scene.ray_origin + scene.near_far[..., :1] * scene.ray_direction
        rays = torch.cat([start, scene.ray_direction], -1)
        self.rays = self.deal(rays).transpose(1, 2).contiguous()
        self.count = self.deal((scene.last_step() + 1)[..., None])[..., 0].int()

    def deal(self, values: Tensor) -> Tensor:
        """[B,R,C] -> [tiles,64,C], 0 in lanes without a ray."""
        dealt = values[:, self._ray].masked_fill(~self._held[:, None], 0)
        return dealt.view(*self._shape, values.shape[-1]).contiguous()

    def gather(self, values: Float[Tensor, "tiles lanes C"], images: int) -> Float[Tensor, "images rays C"]:
        """The opposite of ``deal``."""
        return values.view(images, len(self._ray), values.shape[-1])[:, self._lane]


class _Record(NamedTuple):
    """What forward keeps for backward."""

    tiles: _Tiles
    hits: Any
    stop: Tensor
    stop_value: Tensor


def _pose(center: Tensor, rotation: Tensor, half_size: Tensor) -> Float[Tensor, "B K 12"]:
    """y = M (x - center) with M = rotation^T / half_size, row by row, and the centre."""
    to_local = rotation.transpose(-1, -2) / half_size[..., None]
    return torch.cat([to_local.flatten(-2), center], -1).contiguous()


def _options(scene: Scene) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The numbers that both marching kernels take, and what they are compiled for."""
    from prior.raymarch.triton_culling import OPTIONS

    numbers = (scene.primitives, scene.step_size, scene.fade_scale, scene.fade_exponent)
    depth, height, width = scene.voxels.shape[2:5]
    sizes = {"DEPTH": depth, "HEIGHT": height, "WIDTH": width, "RAYS": _LANES}
    return numbers, {"EIGHT": scene.fade_exponent == 8.0, **sizes, "num_warps": 2, **OPTIONS}


def _forward(scene: Scene, pose: Tensor, voxels: Tensor) -> tuple[Tensor, _Record]:
    from prior.raymarch.triton_culling import find_hits
    from prior.raymarch.triton_kernels import forward_kernel

    tiles = _Tiles(scene)
    hits = find_hits(tiles.rays, tiles.count, pose, scene.step_size)
    rgba, stop_value = torch.empty(2, *tiles.count.shape, 4, device=voxels.device)
    stop = torch.empty_like(tiles.count)
    numbers, options = _options(scene)
    if len(stop):
        lists = (hits.start, hits.box, hits.first, hits.last)
        arguments = (tiles.rays, tiles.count, *lists, pose, voxels, rgba, stop, stop_value, *numbers)
        forward_kernel[(len(stop),)](*arguments, **options, GROUP=32)
    return tiles.gather(rgba, scene.images), _Record(tiles, hits, stop, stop_value)


def _backward(scene: Scene, pose: Tensor, voxels: Tensor, record: _Record, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to ``pose``, but as sums of g (x - center)^T and g where g = dL/dy, and to ``voxels``."""
    from prior.raymarch.triton_kernels import backward_kernel

    grad_pose, grad_voxels = torch.zeros_like(pose), torch.zeros_like(voxels)
    tiles, hits, stop, stop_value = record
    numbers, options = _options(scene)
    if len(hits.box):
        lists = (hits.tile, hits.box, hits.first, hits.last)
        upstream = tiles.deal(grad)
        arguments = (tiles.rays, tiles.count, *lists, pose, voxels, stop, stop_value, upstream, grad_pose, grad_voxels)
        backward_kernel[(len(hits.box),)](*arguments, *numbers, **options)
    return grad_pose, grad_voxels


class _March(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, center: Tensor, rotation: Tensor, half_size: Tensor, voxels: Tensor, scene: Scene) -> Tensor:
        ctx.scene, ctx.pose, ctx.voxels = scene, _pose(center, rotation, half_size), voxels.detach().contiguous()
        with torch.cuda.device_of(voxels):
            rgba, ctx.record = _forward(scene, ctx.pose, ctx.voxels)
        # Saved to notice changes in place; the kernels read the contiguous ones.
        ctx.save_for_backward(center, rotation, half_size, voxels)
        return rgba

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _, _, half_size, voxels = ctx.saved_tensors
        with torch.cuda.device_of(voxels):
            sums, grad_voxels = _backward(ctx.scene, ctx.pose, ctx.voxels, ctx.record, grad.contiguous())
        to_local, outer = (packed[..., :9].unflatten(-1, (3, 3)) for packed in (ctx.pose, sums))
        grad_center = -(to_local * sums[..., 9:, None]).sum(-2)
        grad_rotation = (outer / half_size[..., None]).transpose(-1, -2)
        grad_half_size = -(outer * to_local).sum(-1) / half_size
        return grad_center, grad_rotation, grad_half_size, grad_voxels, None
