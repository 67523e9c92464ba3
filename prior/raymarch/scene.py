"""What one call of ``raymarch`` works on, checked once for every backend."""

import dataclasses
import math

import torch
from torch import Tensor

from datasets.errors import NonFiniteError, VrmmError

_DIMENSIONS = {
    "ray_origin": "[B,R,3]",
    "ray_direction": "[B,R,3]",
    "near_far": "[B,R,2]",
    "center": "[B,K,3]",
    "rotation": "[B,K,3,3]",
    "half_size": "[B,K,3]",
    "voxels": "[B,K,D,H,W,4]",
}
_INDEX_LIMIT = 2**31


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """The arguments of ``prior.raymarch.raymarch``, with the same names, shapes and units."""

    ray_origin: Tensor
    ray_direction: Tensor
    near_far: Tensor
    step_size: float
    center: Tensor
    rotation: Tensor
    half_size: Tensor
    voxels: Tensor
    fade_scale: float
    fade_exponent: float
    image_shape: tuple[int, int] | None

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_shapes()
        self._check_kinds()
        self._check_values()

    @property
    def images(self) -> int:
        """B, the number of images."""
        return self.ray_origin.shape[0]

    @property
    def rays(self) -> int:
        """R, the number of rays of an image."""
        return self.ray_origin.shape[1]

    @property
    def primitives(self) -> int:
        """K, the number of primitives of an image."""
        return self.center.shape[1]

    def last_step(self) -> Tensor:
        """[B,R] int64: the last i with near + i * step_size <= far, counted in float64 by every backend."""
        near, far = self.near_far.detach().double().unbind(-1)
        last = ((far - near) / self.step_size).floor()
        last = torch.where(near + (last + 1) * self.step_size <= far, last + 1, last)
        return torch.where(near + last * self.step_size > far, last - 1, last).long()

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in _DIMENSIONS}

    def _check_numbers(self) -> None:
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise VrmmError(f"raymarch: step_size is {self.step_size}; give a positive length in metres")
        if not (math.isfinite(self.fade_scale) and self.fade_scale >= 0):
            raise VrmmError(f"raymarch: fade_scale is {self.fade_scale}; give a finite number of at least 0")
        if not (math.isfinite(self.fade_exponent) and self.fade_exponent >= 1):
            raise VrmmError(f"raymarch: fade_exponent is {self.fade_exponent}; give a finite number of at least 1")

    def _check_shapes(self) -> None:
        sizes: dict[str, int] = {}
        for name, dimensions in _DIMENSIONS.items():
            shape = tuple(getattr(self, name).shape)
            expected = dimensions.strip("[]").split(",")
            fits = len(shape) == len(expected) and all(
                size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
                for axis, size in zip(expected, shape, strict=True)
            )
            if not fits:
                known = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
                raise VrmmError(f"raymarch: {name} has shape {list(shape)}, expected {dimensions} with {known}")
        if min(self.voxels.shape[2:5]) < 2:
            raise VrmmError(f"raymarch: voxels are {list(self.voxels.shape[2:5])}; give at least 2 along D, H and W")
        if self.voxels[:1].numel() >= _INDEX_LIMIT:
            raise VrmmError("raymarch: the voxels of one image exceed 2^31 numbers; use fewer or smaller primitives")
        if self.image_shape is not None and math.prod(self.image_shape) != self.rays:
            raise VrmmError(f"raymarch: image_shape {self.image_shape} does not hold the {self.rays} rays given")

    def _check_kinds(self) -> None:
        voxels = self.voxels
        if voxels.dtype not in (torch.float32, torch.float64):
            raise VrmmError(f"raymarch: voxels are {voxels.dtype}; convert every input to float32 or float64")
        for name, tensor in self._tensors().items():
            if tensor.dtype != voxels.dtype:
                raise VrmmError(f"raymarch: {name} is {tensor.dtype} but voxels are {voxels.dtype}; convert one")
            if tensor.device != voxels.device:
                raise VrmmError(f"raymarch: {name} is on {tensor.device} but voxels are on {voxels.device}; move one")
        for name in ("ray_origin", "ray_direction", "near_far"):
            if getattr(self, name).requires_grad:
                raise VrmmError(
                    f"raymarch: {name} requires a gradient, but rays are not differentiated; "
                    f"detach it, or move the head (center and rotation) instead of the camera"
                )

    def _check_values(self) -> None:
        if self.ray_origin.numel():
            self._check_rays()
        for name in ("center", "rotation", "half_size"):
            low, high = _range(getattr(self, name))
            # Such a primitive would be inside no ray and vanish without a trace.
            if not (math.isfinite(low) and math.isfinite(high)):
                raise NonFiniteError(f"raymarch: {name} holds NaN or infinity; in a training, lower the learning rate")
        if _range(self.half_size)[0] <= 0:
            raise VrmmError("raymarch: half_size holds a value of 0 or less; keep it positive, in metres")

    def _check_rays(self) -> None:
        """One pass over each tensor; a NaN survives minimum, maximum and difference."""
        near, far = self.near_far.unbind(-1)
        shortest, longest = _range(far - near)
        if not (math.isfinite(shortest) and math.isfinite(longest)):
            raise NonFiniteError("raymarch: near_far holds NaN or infinity; clip the rays to a box around the head")
        if shortest < 0:
            raise VrmmError("raymarch: near_far holds near > far; give a ray that misses the head near = far")
        if not all(math.isfinite(value) for value in _range(self.ray_origin)):
            raise NonFiniteError("raymarch: ray_origin holds NaN or infinity; mend the camera")
        x, y, z = self.ray_direction.unbind(-1)
        least, most = _range(x * x + y * y + z * z)
        if not (abs(least - 1) < 2e-3 and abs(most - 1) < 2e-3):
            raise VrmmError("raymarch: ray_direction is not of unit length; normalise it")
        if longest / self.step_size * max(self.primitives, 1) >= _INDEX_LIMIT / 2:
            raise VrmmError(
                f"raymarch: {longest / self.step_size:.3g} steps along a ray are too many for {self.primitives} "
                f"primitives; enlarge step_size ({self.step_size}) or bring near and far together"
            )


def _range(tensor: Tensor) -> tuple[float, float]:
    """Least and greatest element, NaN if there is one; 1 and 1 of nothing."""
    if tensor.numel() == 0:
        return 1.0, 1.0
    low, high = torch.aminmax(tensor.detach())
    return float(low), float(high)
