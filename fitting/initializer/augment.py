"""Renderings to what a camera's user might send: crops, backgrounds, exposure, blur, noise, JPEG."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from fitting.initializer.crop import cut, face_squares, to_crop, to_crop_camera
from fitting.initializer.recipe import AugmentConfig
from fitting.initializer.samples import Samples
from prior.metrics import display

FAR_SHIFT, FAR_ZOOM = 0.3, 1.9
"""Errors of a search window: in its sides, and as a factor."""
IS_FACE_SHIFT, IS_FACE_ZOOM = 0.18, 1.5
"""A crop that is off by no more than this is one of a face; whether one further off is, is not asked."""
LEVEL, TINT = 0.25, 0.06
"""Standard deviations of the logarithm of a picture's brightness, and of its channels' beside that."""
MIDDLE_GREY, GREY_SPREAD = 0.2, 0.4
"""Mean radiance that a camera's exposure aims at, and the spread of its logarithm."""
REACH = 1.1
"""Landmarks further out of the crop are not asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """What the network sees and should answer, in the frame of a camera that looks along the crop's centre.

    Attributes:
        picture: [B, 3, S, S] display values in [0, 1].
        landmarks: [B, 68, 2] in the crop's frame, [−1, 1] inside it.
        asked: [B, 68] 1 where a landmark counts.
        rotation: [B, 3, 3] head→camera.
        log_field: [B] logarithm of the tangent of half the angle that the crop covers.
        blend, z_e, light: as in ``Samples``, the light as bright as the picture.
        near: [B] 1 where pose, codes and light count.
        face: [B] 1 for a face, 0 for none, NaN where that is not asked.
    """

    picture: Float[Tensor, "B 3 S S"]
    landmarks: Float[Tensor, "B 68 2"]
    asked: Float[Tensor, "B 68"]
    rotation: Float[Tensor, "B 3 3"]
    log_field: Float[Tensor, "B"]
    blend: Float[Tensor, "B N"]
    z_e: Float[Tensor, "B E"]
    light: Float[Tensor, "B L 3"]
    near: Float[Tensor, "B"]
    face: Float[Tensor, "B"]


class Augmentation:
    """Makes batches; a pure function of the samples and the generator. Final.

    Args:
        config: of what may happen.
        size: pixels of the crops.
        has_level: the samples are as bright as training frames; otherwise every picture is exposed by itself.
    """

    def __init__(self, config: AugmentConfig, size: int, *, has_level: bool) -> None:
        self._config, self._size, self._has_level = config, size, has_level

    @torch.no_grad()
    def __call__(self, samples: Samples, generator: torch.Generator) -> Batch:
        count = len(samples)
        random = _Random(count, generator)
        squares, roll, near, face = self._crops(samples, random)
        layers = cut(samples.picture.float() / 255.0, squares, roll, self._size)
        radiance = layers[:, :3] ** 2 * samples.peak[:, None, None, None]
        gain = self._gain(radiance, layers[:, 3:], random)
        radiance = self._before_background(radiance * gain[..., None, None], layers[:, 3:], face, random)
        center = squares[:, :2] - samples.picture.shape[-1] / 2.0
        landmarks = to_crop(samples.landmarks, squares, roll)
        present = torch.where(face == 0.0, 0.0, 1.0)
        return Batch(
            picture=self._camera(display(radiance), random),
            landmarks=landmarks,
            asked=(landmarks.abs().amax(dim=-1) < REACH).float() * present[:, None],
            rotation=to_crop_camera(center, samples.focal, roll) @ samples.rotation,
            log_field=(squares[:, 2] / 2.0 / samples.focal).log(),
            blend=samples.blend,
            z_e=samples.z_e,
            light=samples.light * gain[:, None],
            near=near,
            face=face,
        )

    def _crops(self, samples: Samples, random: "_Random") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squares in pixels of the renderings, their roll, and the targets ``near`` and ``face``."""
        config = self._config
        far, empty = random.chance(config.far), random.chance(config.empty)
        shift = random.between((2,)) * torch.where(far, FAR_SHIFT, config.shift)[:, None]
        away = torch.nn.functional.normalize(random.normal((2,)), dim=1) * (0.7 + 0.5 * random.uniform())[:, None]
        shift = torch.where(empty[:, None], away, shift)
        zoom = torch.exp(random.between() * torch.where(far, math.log(FAR_ZOOM), math.log(config.zoom)))
        squares = face_squares(samples.landmarks)
        side = squares[:, 2:] * zoom[:, None]
        squares = torch.cat([squares[:, :2] + shift * side, side], dim=1)
        roll = random.between() * math.radians(config.roll)
        near = (~far & ~empty).float()
        wrong = (shift.abs().amax(dim=1) > IS_FACE_SHIFT) | (zoom.log().abs() > math.log(IS_FACE_ZOOM))
        face = torch.where(wrong, torch.nan, 1.0)
        return squares, roll, near, torch.where(empty, 0.0, face)

    def _gain(self, radiance: Tensor, alpha: Tensor, random: "_Random") -> Float[Tensor, "B 3"]:
        """Brightness and tint, which the light gets, too: colour is exactly linear in it."""
        level = torch.exp(LEVEL * random.normal())
        mean = radiance.mean(dim=(1, 2, 3)) / alpha.mean(dim=(1, 2, 3)).clamp(min=1e-3)
        by_camera = MIDDLE_GREY * torch.exp(GREY_SPREAD * random.normal()) / mean.clamp(min=1e-6)
        exposed = random.chance(self._config.exposed if self._has_level else 1.0)
        level = torch.where(exposed, by_camera, level)
        return level[:, None] * torch.exp(TINT * random.normal((3,)))

    def _before_background(self, radiance: Tensor, alpha: Tensor, face: Tensor, random: "_Random") -> Tensor:
        """Over black, or over smooth or busy noise of any colour; the same behind nothing where there is no face."""
        base = random.uniform((3, 1, 1)) ** 2
        layers = torch.stack([self._noise(cells, random) for cells in (2, 6, 20)]).sum(dim=0)
        grey = random.chance(0.5)[:, None, None, None]
        layers = torch.where(grey, layers.mean(dim=1, keepdim=True), layers)
        behind = base * torch.exp(2.0 * layers)
        dark = random.chance(self._config.black) & (face != 0.0)
        return radiance + (1.0 - alpha) * torch.where(dark[:, None, None, None], 0.0, behind)

    def _noise(self, cells: int, random: "_Random") -> Float[Tensor, "B 3 S S"]:
        """Blotches of a size, strong in some pictures only."""
        blotches = random.normal((3, cells, cells)) * (0.5 * random.uniform((1, 1, 1)) ** 2)
        return interpolate(blotches, size=(self._size, self._size), mode="bilinear", align_corners=False)

    def _camera(self, picture: Float[Tensor, "B 3 S S"], random: "_Random") -> Float[Tensor, "B 3 S S"]:
        """Blur, noise and compression of display values."""
        soft = avg_pool2d(picture, 3, 1, 1, count_include_pad=False)  # a standard deviation of 0.8 pixels
        share = (random.uniform((1, 1, 1)) * self._config.blur / 0.8).clamp(max=1.0)
        picture = picture + share * (soft - picture)
        sigma = self._config.noise * random.uniform((1, 1, 1)) ** 2
        noise = random.normal((1, *picture.shape[2:]))
        noise = torch.cat([noise, noise.roll(7, dims=2), noise.roll(5, dims=3)], dim=1)  # a third of the random numbers
        picture = (picture + sigma * noise).clamp(0.0, 1.0)
        for row in torch.nonzero(random.chance(self._config.jpeg)).flatten().tolist():
            picture[row] = _compressed(picture[row], 25 + int(70 * random.one()))
        return picture


class _Random:
    """Random numbers for each of B pictures."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count, self._generator = count, generator

    def uniform(self, shape: tuple[int, ...] = ()) -> Tensor:
        return torch.rand(self._count, *shape, generator=self._generator)

    def between(self, shape: tuple[int, ...] = ()) -> Tensor:
        return 2.0 * self.uniform(shape) - 1.0

    def normal(self, shape: tuple[int, ...] = ()) -> Tensor:
        return torch.randn(self._count, *shape, generator=self._generator)

    def chance(self, share: float) -> Tensor:
        return self.uniform() < share

    def one(self) -> float:
        return float(torch.rand((), generator=self._generator))


def _compressed(picture: Float[Tensor, "3 S S"], quality: int) -> Float[Tensor, "3 S S"]:
    """Through JPEG and back."""
    import cv2

    pixels = np.ascontiguousarray((picture * 255.0).round().byte().permute(1, 2, 0).numpy()[..., ::-1])
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return torch.from_numpy(np.ascontiguousarray(decoded[..., ::-1])).permute(2, 0, 1).float() / 255.0
