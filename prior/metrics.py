"""Image metrics inside the head mask, after display encoding."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MASK_THRESHOLD = 0.5
DISPLAY_GAMMA = 2.2


def display(radiance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Linear radiance to display values in [0, 1]: clip(x, 0, 1)^(1 / 2.2)."""
    return radiance.clamp(0.0, 1.0) ** (1.0 / DISPLAY_GAMMA)


def image_metrics(
    image: Float[Tensor, "3 H W"], truth: Float[Tensor, "3 H W"], mask: Float[Tensor, "1 H W"]
) -> dict[str, float]:
    """PSNR (dB), SSIM and MAE (0–255) of two linear images over the pixels where the true mask is above one half.

    SSIM is computed with an 11 pixel Gaussian window (sigma 1.5) on the whole picture and averaged in the mask.
    """
    from kornia.metrics import ssim as kornia_ssim  # slow to import, and most runs measure nothing

    inside = (mask > MASK_THRESHOLD).expand_as(image)
    a, b = display(image), display(truth)
    difference = (a - b)[inside]
    mse = float((difference**2).mean())
    similarity = kornia_ssim(a[None], b[None], window_size=11, max_val=1.0)[0]
    return {
        "psnr": -10.0 * math.log10(max(mse, 1e-12)),
        "ssim": float(similarity[inside].mean()),
        "mae255": 255.0 * float(difference.abs().mean()),
    }


def mask_iou(alpha: Float[Tensor, "1 H W"], mask: Float[Tensor, "1 H W"]) -> float:
    """Intersection over union of the silhouettes at one half."""
    a, b = alpha > MASK_THRESHOLD, mask > MASK_THRESHOLD
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every column over images."""
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} if rows else {}


def rotation_angle(a: Float[Tensor, "*B 3 3"], b: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B"]:
    """Angle between rotations, radians."""
    cosine = ((a.transpose(-1, -2) @ b).diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
    return torch.acos(cosine.clamp(-1.0, 1.0))


def mean_of(values: Sequence[Any]) -> Any:
    """The mean of every number in nested dictionaries; what is no number, or is not in all, is left out."""
    first = values[0]
    if isinstance(first, dict):
        common = [key for key in first if all(key in value for value in values)]
        means = {key: mean_of([value[key] for value in values]) for key in common}
        return {key: mean for key, mean in means.items() if mean is not None}
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return statistics.fmean(values)
    return None
