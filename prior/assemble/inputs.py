"""What one call of ``assemble`` works on, checked once for every backend."""

import dataclasses
import math

import torch
from torch import Tensor

from datasets.errors import VrmmError

DIMENSIONS = {
    "opacity_features": "[B,R,R,Fo]",
    "gain_features": "[B,R,R,Fg]",
    "light": "[B,3,R,R,M]",
    "gate": "[B,R,R,V,M]",
    "opacity_weight": "[N,Fo]",
    "gain_weight": "[3,N,Fg]",
    "shading_weight": "[N,M]",
    "opacity_bias": "[R,R,N]",
    "gain_bias": "[R,R,3,N]",
}
"""Names and shapes of the tensors, in the order in which every backend takes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes that the shapes of the tensors do not tell alone.

    Attributes:
        batch, views: B and V.
        grid: primitives along one side of the UV square.
        texels: feature texels along one side of a primitive.
        depth: D, voxels of a primitive along its normal.
        block: voxels under a texel along one side; H = W = texels · block.
    """

    batch: int
    views: int
    grid: int
    texels: int
    depth: int
    block: int

    @property
    def voxels_shape(self) -> tuple[int, ...]:
        """[B,V,K,D,H,W,4]."""
        side = self.texels * self.block
        return (self.batch, self.views, self.grid**2, self.depth, side, side, 4)


def checked_layout(tensors: dict[str, Tensor], grid: int, depth: int) -> Layout:
    """The sizes of a call.

    Raises:
        VrmmError: naming the first tensor whose shape, type or device does not fit the others.
    """
    sizes: dict[str, int] = {}
    first = tensors["opacity_features"]
    for name, dimensions in DIMENSIONS.items():
        tensor = tensors[name]
        _check_shape(name, tensor, dimensions, sizes)
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise VrmmError(
                f"assemble: {name} is {tensor.dtype} on {tensor.device} but opacity_features are {first.dtype} on "
                f"{first.device}; convert one"
            )
    if not first.is_floating_point():
        raise VrmmError(f"assemble: the tensors are {first.dtype}; convert them to float32")
    if min(sizes.values()) < 1 or grid < 1 or sizes["R"] % grid:
        raise VrmmError(f"assemble: feature maps of {sizes['R']}² texels do not divide over {grid}² primitives")
    block = math.isqrt(sizes["N"] // max(depth, 1))
    if depth < 1 or depth * block * block != sizes["N"]:
        raise VrmmError(f"assemble: {sizes['N']} voxels a texel are not {depth} layers of a square")
    return Layout(batch=sizes["B"], views=sizes["V"], grid=grid, texels=sizes["R"] // grid, depth=depth, block=block)


def _check_shape(name: str, tensor: Tensor, dimensions: str, sizes: dict[str, int]) -> None:
    shape = tuple(tensor.shape)
    expected = dimensions.strip("[]").split(",")
    fits = len(shape) == len(expected) and all(
        size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
        for axis, size in zip(expected, shape, strict=True)
    )
    if not fits:
        known = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise VrmmError(f"assemble: {name} has shape {list(shape)}, expected {dimensions} with {known}")


def is_native(tensors: dict[str, Tensor]) -> bool:
    """Whether the tensors are what the CPU kernel takes."""
    first = tensors["opacity_features"]
    return first.dtype == torch.float32 and first.device.type == "cpu"
