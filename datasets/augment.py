"""Random changes to a frame's views: photometric ones to what the encoders see, other windows to what is rendered.

The encoders must read the same face under any exposure, colour balance and light, so their views change in colour and
brightness and the pictures to render, which the light explains, do not. A shifted window comes with its intrinsics and
is therefore true for pictures to render; the encoders are told no intrinsics, so their views keep their place.
"""

import dataclasses
import zlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.batch import FrameBatch
from datasets.errors import VrmmError
from datasets.order import random_numbers

_GEOMETRY, _COLOUR, _NOISE = 7, 8, 9  # streams of random numbers, others than those of the orders
_LEAST_BLUR = 0.05  # pixels; less changes nothing
_SHADING_KNOTS = 4  # along a side of a view
_MOST = {"exposure": 8.0, "white_balance": 0.9, "shading": 8.0, "blur": 32.0, "noise": 1.0, "crop": 0.9}


@dataclasses.dataclass(kw_only=True)
class AugmentConfig:
    """How far a view may be changed; 0 leaves that out. Every view is changed differently.

    Attributes:
        exposure: factor of up to 2 to this power, up or down, on an encoder's view.
        white_balance: factor of up to 1 ± this on each colour of it.
        shading: factor of up to 2 to this power, up or down, that changes smoothly across an encoder's view. Else the
            expression code tells the light of its frame, and the face looks wrong in any other.
        blur: standard deviation of up to this many pixels on it.
        noise: standard deviation of the noise on it where its radiance is 1, in proportion to the root of radiance.
        crop: share of the side of a picture to render that is cut away, up to this; what is left is enlarged.
    """

    exposure: float = 0.0
    white_balance: float = 0.0
    shading: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    crop: float = 0.0

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 0.0 <= getattr(self, name) <= most:
                raise VrmmError(f"augment.{name} is {getattr(self, name)}; it must be from 0 to {most:g}")

    @property
    def active(self) -> bool:
        """Anything is changed at all."""
        return any(getattr(self, field.name) > 0.0 for field in dataclasses.fields(self))


def augment_row(batch: FrameBatch, row: int, config: AugmentConfig, *, seed: int, epoch: int, key: str) -> None:
    """Change the views of one frame in place, a pure function of the pictures, seed, epoch and key.

    Args:
        batch: filled.
        row: of the frame.
        config: how far.
        seed: of the run.
        epoch: others in each.
        key: of the sample; a repetition within an epoch has another.
    """
    name = zlib.crc32(key.encode())
    images = batch.input_images[row]
    if config.exposure or config.white_balance:
        images *= _gains(len(images), config, seed, epoch, name)[..., None, None]
    if config.shading:
        images *= _shading(images, config, seed, epoch, name)
    if config.blur:
        _blur(images, config.blur * _uniform(len(images), seed, epoch, name, _COLOUR, 2))
    if config.noise:
        generator = torch.Generator().manual_seed(int(random_numbers(1, seed, epoch, name, _NOISE)[0] >> np.uint64(1)))
        shot = torch.randn(images.shape, generator=generator) * images.clamp(min=0.0).sqrt()
        images.add_(shot, alpha=config.noise).clamp_(min=0.0)
    if config.crop:
        _shift_windows(batch, row, config.crop, seed, epoch, name)


def _gains(views: int, config: AugmentConfig, seed: int, epoch: int, name: int) -> Float[Tensor, "V 3"]:
    exposure = 2.0 ** (config.exposure * (2.0 * _uniform(views, seed, epoch, name, _COLOUR, 0) - 1.0))
    balance = 1.0 + config.white_balance * (2.0 * _uniform(3 * views, seed, epoch, name, _COLOUR, 1) - 1.0)
    return torch.from_numpy((exposure[:, None] * balance.reshape(views, 3)).astype(np.float32))


def _shading(images: Float[Tensor, "V 3 H W"], config: AugmentConfig, seed: int, epoch: int, name: int) -> Tensor:
    """[V, 1, H, W]; the factor of every view is drawn at a few knots, over its own range."""
    views = len(images)
    reach = config.shading * _uniform(views, seed, epoch, name, _COLOUR, 3)
    knots = 2.0 * _uniform(views * _SHADING_KNOTS**2, seed, epoch, name, _COLOUR, 4) - 1.0
    powers = torch.from_numpy((reach[:, None] * knots.reshape(views, -1)).astype(np.float32))
    powers = powers.view(views, 1, _SHADING_KNOTS, _SHADING_KNOTS)
    smooth = torch.nn.functional.interpolate(powers, size=images.shape[-2:], mode="bilinear", align_corners=True)
    return torch.exp2(smooth)


def _blur(images: Float[Tensor, "V 3 H W"], sigmas: Float[np.ndarray, "V"]) -> None:
    from kornia.filters import gaussian_blur2d

    for image, sigma in zip(images, sigmas.tolist(), strict=True):
        if sigma > _LEAST_BLUR:
            side = 2 * min(int(np.ceil(3.0 * sigma)), min(image.shape[-2:]) - 1) + 1
            image[:] = gaussian_blur2d(image[None], (side, side), (sigma, sigma), border_type="reflect")[0]


def _shift_windows(batch: FrameBatch, row: int, most: float, seed: int, epoch: int, name: int) -> None:
    """Show a smaller part of each target view at the same size, bilinearly, and say so in its intrinsics."""
    from kornia.geometry.transform import warp_affine

    images, masks = batch.target_images[row], batch.target_masks[row]
    views, (height, width) = len(images), images.shape[-2:]
    left = 1.0 - most * _uniform(views, seed, epoch, name, _GEOMETRY, 0)  # share of the side that is left
    corner = _uniform(2 * views, seed, epoch, name, _GEOMETRY, 1).reshape(views, 2) * (1.0 - left)[:, None]
    change = np.zeros((views, 3, 3))  # of pixel coordinates
    change[:, [0, 1], [0, 1]] = (1.0 / left)[:, None]
    change[:, :2, 2] = -corner * [width, height] / left[:, None]
    change[:, 2, 2] = 1.0
    # kornia counts pixels from the centre of the first one, the project from its corner.
    centre = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    affine = torch.from_numpy((np.linalg.inv(centre) @ change @ centre)[:, :2].astype(np.float32))
    pictures = torch.cat([images, masks], dim=1)
    # At its border a window may reach half a pixel beyond the last pixel's centre, where that pixel goes on.
    moved = warp_affine(pictures, affine, (height, width), padding_mode="border", align_corners=True)
    images[:], masks[:] = moved[:, :3], moved[:, 3:]
    intrinsics = batch.intrinsics[row].numpy()
    intrinsics[:] = change @ intrinsics


def _uniform(count: int, *seeds: int) -> Float[np.ndarray, "count"]:
    """Numbers in [0, 1)."""
    return (random_numbers(count, *seeds) >> np.uint64(11)) / 2.0**53
