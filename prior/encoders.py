"""E_e and E_T: expression distribution and rigid head motion from a few input views (eq. 6, 7)."""

import dataclasses
import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.primitives import rotation_from_axis_angle

SLOPE = 0.2
"""Of the leaky rectifiers, below zero."""

MIN_IMAGE_SIZE = 32
"""Four halvings of the encoder's input must leave 2 × 2 texels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """What the encoders say about a frame.

    Attributes:
        mean, log_variance: [B, E] of the Gaussian expression code.
        rotation: [B, 3, 3] head→world.
        translation: [B, 3] metres.
    """

    mean: Float[Tensor, "B E"]
    log_variance: Float[Tensor, "B E"]
    rotation: Float[Tensor, "B 3 3"]
    translation: Float[Tensor, "B 3"]

    def sample(self, noise: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        """z_e = mean + noise · sigma, with standard normal ``noise``."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


class ViewTrunk(nn.Module):
    """Prepared input views (``prepare_views``) to one feature vector."""

    CHANNELS = (24, 32, 48, 64)

    def __init__(self, views: int, size: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 4 * views
        for channels in self.CHANNELS:
            layers += [nn.Conv2d(inputs, channels, 3, 2, 1), nn.LeakyReLU(SLOPE)]
            inputs, size = channels, (size + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(inputs * size * size, width)
        for layer in (*self.convolutions, self.linear):
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                # torch's own start shrinks what differs between frames by half in every layer
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, views: Float[Tensor, "B C S S"]) -> Float[Tensor, "B F"]:
        return nn.functional.leaky_relu(self._linear(views), SLOPE)

    @torch.no_grad()
    def standardize(self, views: Float[Tensor, "B C S S"]) -> None:
        """Rescale the last layer so that over ``views`` every feature has mean 0 and variance 1 before it is bent."""
        response = self._linear(views)
        spread = response.std(dim=0).clamp(min=1e-6)
        self.linear.bias.sub_(response.mean(dim=0)).div_(spread)
        self.linear.weight.div_(spread[:, None])

    def _linear(self, views: Tensor) -> Tensor:
        return self.linear(self.convolutions(views).flatten(1))


def prepare_views(
    images: Float[Tensor, "B V 3 H W"], masks: Float[Tensor, "B V 1 H W"], size: int
) -> Float[Tensor, "B C S S"]:
    """Toned images and masks of the input views, stacked along channels and resampled to ``size`` pixels."""
    stacked = torch.cat([images, masks], dim=2).flatten(1, 2)
    height, width = stacked.shape[-2:]
    if height % size == 0 and width % size == 0:
        stacked = nn.functional.avg_pool2d(stacked, (height // size, width // size))
    else:
        stacked = nn.functional.interpolate(
            stacked, size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
    views = stacked.unflatten(1, (-1, 4))
    toned = torch.sqrt(views[:, :, :3].clamp(min=0.0) + 1e-2) - 0.1
    return torch.cat([toned, views[:, :, 3:]], dim=2).flatten(1, 2).contiguous(memory_format=torch.channels_last)


class ExpressionEncoder(nn.Module):
    """E_e: mean and log-variance of z_e."""

    def __init__(self, views: int, size: int, expression: int, width: int = 128) -> None:
        super().__init__()
        self.trunk = ViewTrunk(views, size, width)
        self.head = nn.Linear(width, 2 * expression)
        with torch.no_grad():
            # Start with codes of the prior's size and little noise, so that the decoders learn to use them at once.
            nn.init.normal_(self.head.weight[:expression], std=1.6 / math.sqrt(width))
            nn.init.normal_(self.head.weight[expression:], std=0.01)
            self.head.bias[:expression] = 0.0
            self.head.bias[expression:] = -5.0

    def forward(self, views: Float[Tensor, "B C S S"]) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B E"]]:
        mean, log_variance = self.head(self.trunk(views)).chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 4.0)


class TransformEncoder(nn.Module):
    """E_T: rigid head motion, small around the rest pose."""

    TRANSLATION_SCALE = 0.05
    """Metres per unit of the network."""

    def __init__(self, views: int, size: int, width: int = 128) -> None:
        super().__init__()
        self.trunk = ViewTrunk(views, size, width)
        self.head = nn.Linear(width, 6)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, views: Float[Tensor, "B C S S"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
        """(rotation head→world, translation in metres)."""
        turn, shift = self.head(self.trunk(views)).split(3, dim=1)
        return rotation_from_axis_angle(turn), self.TRANSLATION_SCALE * shift
