"""What an export has lost: its file, read again and rendered, against the avatar itself."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from prior.cameras import CameraBatch
from tools.export.source import Pictures, one_camera

VISIBLE = 1.0 / 255.0
"""Pixels count where the avatar or its export stops this much of a ray."""
SOLID = 0.5
"""Pixels of the head mask, as in every other metric of vrmm."""

Render = Callable[[CameraBatch], tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """PSNR of display values (dB) of the export against the avatar, over all views together.

    Attributes:
        psnr: over every pixel in which either of them is seen, outlines included.
        worst: the lowest of the views.
        inside: over the pixels of the head mask, which is what errors against photos are measured in.
        views: how many.
        size: pixels along a side.
    """

    psnr: float
    worst: float
    inside: float
    views: int
    size: int

    def loss(self, psnr_of_avatar: float) -> float:
        """How many dB the export is farther from the truth than the avatar, which is ``psnr_of_avatar`` from it.

        Both errors are measured in the head mask; they are taken to have nothing to do with each other, so their
        squares add up.
        """
        return 10.0 * math.log10(1.0 + 10.0 ** ((psnr_of_avatar - self.inside) / 10.0))


def round_trip(pictures: Pictures, render: Render) -> RoundTrip:
    """Compare what ``render`` shows of a file with pictures of the avatar."""
    sums = {"seen": [0.0, 0], "inside": [0.0, 0]}
    each = []
    for view in range(len(pictures.values)):
        found, alpha = render(one_camera(pictures.cameras, view))
        square = ((found.clamp(0.0, 1.0) - pictures.values[view]) ** 2).mean(dim=0, keepdim=True)
        seen = torch.maximum(alpha, pictures.alpha[view]) > VISIBLE
        for name, mask in (("seen", seen), ("inside", pictures.alpha[view] > SOLID)):
            sums[name][0] += float(square[mask].sum())
            sums[name][1] += int(mask.sum())
        each.append(_decibels(float(square[seen].sum()), int(seen.sum())))
    return RoundTrip(
        psnr=_decibels(*sums["seen"]),
        worst=min(each),
        inside=_decibels(*sums["inside"]),
        views=len(each),
        size=pictures.cameras.height,
    )


def _decibels(squares: float, pixels: int) -> float:
    return -10.0 * math.log10(max(squares / max(pixels, 1), 1e-12))
