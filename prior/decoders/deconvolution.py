"""Transposed convolution that doubles the resolution, without gradients that nobody asked for."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_STRIDE, _PADDING = [2, 2], [1, 1]
_SMALL_MAP = 64
"""Texels up to which, on a CPU, a matrix product and an overlapping sum are faster than the convolution library."""


class Deconvolution(nn.Module):
    """A 4 × 4 transposed convolution of stride 2, without bias.

    Attributes:
        weight: [inputs, 4, 4, outputs].
    """

    def __init__(self, inputs: int, outputs: int, gain: float) -> None:
        """Initial weights keep the variance of the features times ``gain``."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, 4, 4, outputs))
        nn.init.normal_(self.weight, std=math.sqrt(gain / (inputs * 4)))  # 4 taps meet in every output

    def forward(self, features: Float[Tensor, "B C H W"], *detached: Float[Tensor, "B _ H W"]) -> Tensor:
        """[B,outputs,2 H,2 W] from ``features`` and, concatenated after them, maps that get no gradient."""
        # A function of our own is not covered by autocast.
        kind = features.device.type
        cast = kind != "meta" and torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if cast else self.weight.dtype
        maps = (each.to(dtype).permute(0, 2, 3, 1) for each in (features, *detached))
        return _Deconvolve.apply(self.weight.to(dtype), *maps).permute(0, 3, 1, 2)


class _Deconvolve(torch.autograd.Function):
    """Maps are [B,H,W,C] here."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, own: Tensor, *detached: Tensor) -> Tensor:
        features = torch.cat([own, *detached], dim=-1) if detached else own.contiguous()
        ctx.save_for_backward(weight, features)
        ctx.own, ctx.others = own.shape[-1], len(detached)
        if _is_small(features):
            return _spread(features, weight)
        deconvolve = nn.functional.conv_transpose2d
        return deconvolve(_library(features), _library(weight), None, _STRIDE, _PADDING).permute(0, 2, 3, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        weight, features = ctx.saved_tensors
        differentiate = _gather if _is_small(features) else _library_gradients
        by_weight, by_own = differentiate(upstream, features, weight, ctx.own)
        return (by_weight, by_own, *[None] * ctx.others)


def _is_small(features: Tensor) -> bool:
    return features.device.type == "cpu" and features.shape[1] * features.shape[2] <= _SMALL_MAP


def _library(maps: Tensor) -> Tensor:
    """[N,H,W,C] as the [N,C,H,W] in channels-last memory that convolution libraries take."""
    return maps.permute(0, 3, 1, 2)


def _spread(features: Tensor, weight: Tensor) -> Tensor:
    """Every texel's 4 × 4 outputs by one matrix product, then the four that overlap in each place are added."""
    batch, height, width, inputs = features.shape
    patches = (features.reshape(-1, inputs) @ weight.flatten(1)).reshape(batch, height, width, 2, 2, 2, 2, -1)
    total = features.new_zeros(batch, height + 1, 2, width + 1, 2, patches.shape[-1])
    for down in (0, 1):
        for right in (0, 1):
            quarter = patches[:, :, :, down, :, right].permute(0, 1, 3, 2, 4, 5)
            total[:, down : down + height, :, right : right + width] += quarter
    return total.flatten(3, 4).flatten(1, 2)[:, 1:-1, 1:-1]


def _gather(upstream: Tensor, features: Tensor, weight: Tensor, own: int) -> tuple[Tensor, Tensor]:
    """Gradients of ``_spread`` by the weight and by the first ``own`` features."""
    batch, height, width, inputs = features.shape
    padded = nn.functional.pad(upstream, (0, 0, 1, 1, 1, 1))
    image, row, column, channel = padded.stride()
    windows = padded.as_strided(
        (batch, height, width, 4, 4, weight.shape[-1]), (image, 2 * row, 2 * column, row, column, channel)
    ).reshape(batch * height * width, -1)
    by_weight = (features.reshape(-1, inputs).T @ windows).reshape(weight.shape)
    by_own = (windows @ weight[:own].flatten(1).T).reshape(batch, height, width, own)
    return by_weight, by_own


def _library_gradients(upstream: Tensor, features: Tensor, weight: Tensor, own: int) -> tuple[Tensor, Tensor]:
    """The same for larger maps and other devices."""
    above, maps, kernel = _library(upstream), _library(features), _library(weight)
    by_own = nn.functional.conv2d(above, kernel[:own], None, _STRIDE, _PADDING)
    by_weight = torch.ops.aten.convolution_backward(
        above, maps, kernel, None, _STRIDE, _PADDING, [1, 1], True, [0, 0], 1, [False, True, False]
    )[1]
    return by_weight.permute(0, 2, 3, 1), by_own.permute(0, 2, 3, 1)
