"""The terms of eq. 9–13. Image terms return per-sample values; reduction is written once, in ``objective``."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from datasets.errors import VrmmError

TONE_FLOOR = 0.01
"""Linear radiance added before the square root, so that its slope stays finite in the dark."""

CONSISTENCY = ("consistency_image", "consistency_code")
"""The terms of eq. 13."""


@dataclasses.dataclass(kw_only=True)
class LossConfig:
    """Weights of eq. 9–13; 0 switches a term off and does not compute it.

    Attributes:
        l1: L1 on the square root of radiance.
        l2: squared difference of the same, which weighs large errors such as a mouth that should be open.
        alpha: L1 between alpha and mask.
        perceptual: structural similarity at several scales (``structural``), or VGG-19 where its weights are given.
        vgg_weights: file with the weights of VGG-19 (``prior.perceptual``); empty uses structural similarity.
        kl: KL divergence of the expression code.
        volume: volume of the primitives (MVP's prior).
        scale: eq. 11 over the ``shortest`` shortest sides.
        shortest: k of eq. 11.
        identity: squared length of the identity codes.
        negative: hinge on negative rendered radiance, under the frame's light and under the other light of eq. 12;
            an exactly linear light branch could otherwise learn it for lights it has not seen.
        shading: hinge on the negative shading of all voxels under one random direction of light, which no picture of
            a training frame shows alone; what a lamp leaves in shadow would otherwise be patchy.
        attached_shadow: L1 on the shading of voxels whose surface faces away from that direction; lamps that never
            burnt alone would otherwise leave blotches there.
        shading_every: steps between two evaluations of these two.
        shading_stride: they are computed on every n-th frame of the batch.
        consistency_image, consistency_code: lambda_exp1 and lambda_exp2 of eq. 13.
        kl_ramp: part of the training over which ``kl`` grows from 0; at full weight from the start it would erase the
            expression code, which is all cost before the decoders have learnt to use it.
        consistency_start: part of the training after which the consistency terms begin, to reach their weights after
            as much again; before the code means an expression they only make it constant.
        consistency_every: steps between two evaluations of eq. 13.
        consistency_stride: it is computed on every n-th frame of the batch.
        coarse: part of the training, the first one, in which pictures are rendered and compared at half the
            resolution, for a quarter of the rays.
    """

    l1: float = 1.0
    l2: float = 0.0
    alpha: float = 0.5
    perceptual: float = 0.1
    vgg_weights: str = ""
    kl: float = 3e-5
    volume: float = 2e-3
    scale: float = 1e-4
    shortest: int = 32
    identity: float = 1e-4
    negative: float = 1.0
    shading: float = 3.0
    attached_shadow: float = 15.0
    shading_every: int = 1
    shading_stride: int = 2
    consistency_image: float = 0.5
    consistency_code: float = 0.01
    kl_ramp: float = 0.4
    consistency_start: float = 0.4
    consistency_every: int = 4
    consistency_stride: int = 2
    coarse: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "vgg_weights" and getattr(self, field.name) < 0:
                raise VrmmError(f"losses.{field.name}={getattr(self, field.name)} is negative; weights are 0 or more")
        counts = ("consistency_every", "consistency_stride", "shading_every", "shading_stride", "shortest")
        if min(getattr(self, name) for name in counts) < 1:
            raise VrmmError(f"losses.{', losses.'.join(counts)} must be 1 or more")
        if self.coarse > 1:
            raise VrmmError(f"losses.coarse={self.coarse} is a part of the training; it lies in [0, 1]")

    def at(self, name: str, progress: float) -> float:
        """Weight of a term when ``progress`` (0 to 1) of the training is done."""
        weight, start = getattr(self, name), self.consistency_start
        if name == "kl":
            return weight * min(1.0, progress / max(self.kl_ramp, 1e-9))
        if name in CONSISTENCY:
            return weight * min(1.0, max(0.0, progress - start) / max(start, 1e-9))
        return weight

    def uses_consistency(self, progress: float) -> bool:
        """Whether eq. 13 is part of the loss when ``progress`` (0 to 1) of the training is done."""
        return any(self.at(name, progress) > 0 for name in CONSISTENCY)


def tone(radiance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Linear radiance to the space in which images are compared: a square root, like the eye's response."""
    return torch.sqrt(radiance.clamp(min=0.0) + TONE_FLOOR)


def photometric(image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N"]:
    """Mean absolute difference of toned images (``tone``)."""
    return (image - target).abs().flatten(1).mean(dim=1)


def squared(image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N"]:
    """Mean squared difference of toned images (``tone``)."""
    return ((image - target) ** 2).flatten(1).mean(dim=1)


def silhouette(alpha: Float[Tensor, "N 1 H W"], mask: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N"]:
    """Mean absolute difference of alpha and mask."""
    return (alpha - mask).abs().flatten(1).mean(dim=1)


def structural(
    image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"], scales: int = 2
) -> Float[Tensor, "N"]:
    """1 − SSIM of toned images (``tone``) in grey, averaged over ``scales`` octaves, with box windows of 4 pixels.

    A box of 4 is two doublings by shifted sums along each axis, far cheaper on a CPU than a Gaussian or a pooling
    call; reported SSIM (``metrics``) uses the standard Gaussian window.
    """
    a, b = image.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    total = image.new_zeros(len(image))
    for scale in range(scales):
        if scale:
            a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
        total = total + (1.0 - _ssim_map(a, b)).flatten(1).mean(dim=1)
    return total / scales


def _ssim_map(a: Tensor, b: Tensor) -> Tensor:
    stacked = torch.cat([a, b, a * a + b * b, a * b], dim=1)
    mean_a, mean_b, squares, product = _box_mean(stacked).chunk(4, dim=1)
    both, cross = mean_a**2 + mean_b**2, mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * cross + c1) * (2 * (product - cross) + c2)) / ((both + c1) * (squares - both + c2))


def _box_mean(maps: Tensor) -> Tensor:
    """Mean over every 4 × 4 window."""
    maps = maps[..., 1:] + maps[..., :-1]
    maps = maps[..., 2:] + maps[..., :-2]
    maps = maps[..., 1:, :] + maps[..., :-1, :]
    return (maps[..., 2:, :] + maps[..., :-2, :]) / 16.0


def kl_divergence(mean: Float[Tensor, "B E"], log_variance: Float[Tensor, "B E"]) -> Float[Tensor, "B"]:
    """KL(N(mean, sigma²) ‖ N(0, 1)), nats."""
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(dim=1)


def volume(scale: Float[Tensor, "B K 3"]) -> Float[Tensor, "B"]:
    """Mean relative volume of the primitives (MVP's volume minimisation prior)."""
    return scale.prod(dim=-1).mean(dim=1)


def scale_regularization(scale: Float[Tensor, "B K 3"], shortest: int) -> Float[Tensor, "B"]:
    """Eq. 11: sum of log(1 / s) over the ``shortest`` shortest of the 3 K sides, which keeps them from collapsing."""
    return (-scale.log()).flatten(1).topk(min(shortest, scale[0].numel()), dim=1).values.sum(dim=1)


def below_zero(radiance: Float[Tensor, "N *S"]) -> Float[Tensor, "N"]:
    """Mean amount by which radiance, of pixels or voxels, is below zero."""
    return torch.relu(-radiance).flatten(1).mean(dim=1)


def attached_shadow(shading: Float[Tensor, "B R R V C D"], behind: Float[Tensor, "B R R C"]) -> Float[Tensor, "B"]:
    """Mean light that voxels give back although it comes from ``behind`` their surface (``CosineLobes.behind``).

    The factor −n·l leaves grazing light alone, where a head's own normals may differ from the base head's.
    """
    return (shading.clamp(min=0.0) * behind[:, :, :, None, :, None]).flatten(1).mean(dim=1)
