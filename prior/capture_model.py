"""What a capture adds to the picture of a head: every camera's colours, and what is behind the head."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from datasets.errors import VrmmError
from prior.render import Rendering

START = -4.0
"""Of the backgrounds, before softplus: nearly black."""


@dataclasses.dataclass(kw_only=True)
class CaptureModelConfig:
    """What is learned about the cameras of a capture beside the heads.

    Attributes:
        gain: a colour gain for each camera, for cameras that were not matched. Their geometric mean is 1.
        background: side in texels of a picture behind the head for each camera, for captures without masks; 0 for
            captures with masks.
    """

    gain: bool = False
    background: int = 0

    def __post_init__(self) -> None:
        if self.background < 0:
            raise VrmmError(f"cameras.background={self.background} must not be negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Pictures as the cameras of a capture store them.

    Attributes:
        image: [B, V, 3, H, W] linear radiance.
        coverage: [B, V, 1, H, W] what the stored mask would be: ones where the capture has none.
        masked: [B, V] whether it has one.
    """

    image: Float[Tensor, "B V 3 H W"]
    coverage: Float[Tensor, "B V 1 H W"]
    masked: Float[Tensor, "B V"]


class CaptureModel(nn.Module):
    """Turns renderings of heads into what the cameras of a capture store. Final.

    A background has two parts, both learned and never negative: one that is always there, and one in proportion to
    the light (per colour channel) that falls on the head.
    """

    def __init__(self, config: CaptureModelConfig, cameras: int) -> None:
        """``cameras`` of the capture, in its order."""
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(cameras, 3)) if config.gain else None
        size = config.background
        self.backgrounds = nn.Parameter(torch.full((cameras, 2, 3, size, size), START)) if size else None

    def gains(self) -> Float[Tensor, "C 3"]:
        """Linear factors of red, green and blue; over all cameras their product is 1."""
        if self.log_gain is None:
            raise ValueError("cameras.gain is off")
        return torch.exp(self.log_gain - self.log_gain.mean(dim=0))

    def forward(
        self,
        rendering: Rendering,
        camera: Int[Tensor, "B V"],
        masks: Float[Tensor, "B V 1 H2 W2"],
        light: Float[Tensor, "B N 3"],
    ) -> Seen:
        """The stored pictures.

        Args:
            rendering: of the heads alone.
            camera: number of each view's camera in the capture.
            masks: stored with the true pictures; ones throughout where there is none.
            light: radiance of the light field.
        """
        masked = (masks.flatten(2).amin(dim=2) < 1.0).to(rendering.image.dtype)
        image, coverage = rendering.image, rendering.alpha
        if self.backgrounds is not None:
            bare = (1.0 - masked)[:, :, None, None, None]
            behind = self._behind(self.backgrounds, camera, light, image.shape[-2:])
            image = image + bare * (1.0 - coverage) * behind
            coverage = coverage + bare * (1.0 - coverage)
        if self.log_gain is not None:
            image = image * self.gains()[camera][..., None, None]
        return Seen(image=image, coverage=coverage, masked=masked)

    def _behind(self, backgrounds: Tensor, camera: Tensor, light: Tensor, shape: torch.Size) -> Tensor:
        """[B,V,3,H,W]."""
        constant, lit = nn.functional.softplus(backgrounds[camera]).unbind(dim=2)
        picture = constant + lit * light.mean(dim=1)[:, None, :, None, None]
        grown = nn.functional.interpolate(
            picture.flatten(0, 1), size=tuple(shape), mode="bilinear", align_corners=False
        )
        return grown.unflatten(0, camera.shape)
