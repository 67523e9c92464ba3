"""Locality regularisation (eq. 15, 16): near and around the person, the tuned model must look like the prior."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from fitting.bank import TrainingBank
from fitting.objective import image_loss
from fitting.recipe import ImageWeights, LocalityConfig
from fitting.rendering import render_samples
from fitting.state import Solution
from prior.cameras import CameraBatch
from prior.render import RenderConfig
from prior.vrmm import VRMM

NEAR_DEGREES = 10.0
TILT_DEGREES = 15.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """S heads to render once each: codes, light and cameras in the head frame."""

    z_id: Float[Tensor, "S I"]
    z_e: Float[Tensor, "S E"]
    light: Float[Tensor, "S L 3"]
    cameras: CameraBatch


class Locality:
    """L_LR against a frozen prior. Final; a pure function of the seed and the order of calls."""

    def __init__(
        self,
        prior: VRMM,
        rendering: RenderConfig,
        config: LocalityConfig,
        weights: ImageWeights,
        bank: TrainingBank,
        seed: int,
    ) -> None:
        self._prior, self._rendering, self._config, self._weights = prior, rendering, config, weights
        self._bank, self._generator = bank, torch.Generator().manual_seed(seed)

    def __call__(self, model: VRMM, solution: Solution) -> Float[Tensor, ""]:
        """L_img between the renderings of ``model`` and the prior around the identity of ``solution``."""
        samples = self.draw(solution)
        with torch.no_grad():
            wanted = _render(self._prior, samples, self._rendering)
        found = _render(model, samples, self._rendering)
        return image_loss(found[0], found[1], wanted[0], wanted[1], self._weights)

    @torch.no_grad()
    def draw(self, solution: Solution) -> Samples:
        """Interpolated identities (eq. 16) with random expression, light and camera."""
        count, generator = self._config.samples, self._generator
        alpha = self._config.nearest * torch.rand(count, 1, generator=generator)
        identities = self._prior.identity_codes.weight
        other = identities[torch.randint(len(identities), (count,), generator=generator)]
        return Samples(
            z_id=alpha * solution.z_id + (1.0 - alpha) * other,
            z_e=self._expressions(solution.z_e),
            light=torch.stack([self._light(solution.light) for _ in range(count)]),
            cameras=_stacked([self._camera(solution) for _ in range(count)]),
        )

    def _expressions(self, fitted: Float[Tensor, "F E"]) -> Float[Tensor, "S E"]:
        """As in the photos, or as in a training frame (``LocalityConfig.fitted_expression``)."""
        drawn = self._bank.draw_codes(self._config.samples, self._generator)
        for row in range(len(drawn)):
            if self._chance() < self._config.fitted_expression:
                drawn[row] = fitted[int(torch.randint(len(fitted), (), generator=self._generator))]
        return drawn

    def _light(self, fitted: Float[Tensor, "L 3"]) -> Float[Tensor, "L 3"]:
        """As in the photos, or as in a training frame, else one to three directions over a weak ambient."""
        if self._chance() < self._config.fitted_light:
            return fitted
        if self._bank.has_lights:
            return self._bank.draw_light(self._generator)
        total = fitted.mean(dim=0)
        count = len(fitted)
        burning = int(torch.randint(1, 4, (), generator=self._generator))
        chosen = torch.randperm(count, generator=self._generator)[:burning]
        ambient = 0.5 * self._chance()
        light = ambient * total.expand(count, 3)
        spots = torch.zeros(count, 3).index_fill(0, chosen, 1.0 / burning)
        return light + (1.0 - ambient) * count * spots * total

    def _camera(self, solution: Solution) -> CameraBatch:
        """One that looks at the head from near a photo's camera or from anywhere in front, as far away."""
        cameras = solution.cameras
        view = int(torch.randint(len(solution.rotation), (), generator=self._generator))
        center = (cameras.centers[view] - solution.translation[view]) @ solution.rotation[view]
        distance, direction = center.norm(), normalize(center, dim=0)
        yaw, pitch = math.atan2(direction[0], direction[2]), math.asin(float(direction[1].clamp(-1.0, 1.0)))
        if self._chance() < self._config.near:
            reach = math.radians(NEAR_DEGREES)
            yaw, pitch = yaw + self._between(reach), pitch + self._between(reach)
        else:
            reach = max(math.radians(self._config.angle), abs(yaw))
            yaw, pitch = self._between(reach), pitch / 2 + self._between(math.radians(TILT_DEGREES))
        place = distance * torch.tensor(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
        )
        size = self._config.image_size
        focal = float(cameras.intrinsics[view, 0, 0]) * size / cameras.height
        return look_at_head(place, focal, size)

    def _chance(self) -> float:
        return float(torch.rand((), generator=self._generator))

    def _between(self, reach: float) -> float:
        return reach * (2.0 * self._chance() - 1.0)


def look_at_head(place: Float[Tensor, "3"], focal: float, size: int) -> CameraBatch:
    """A square camera at ``place`` (head frame, metres) that looks at the head's origin, y up."""
    forward = -normalize(place, dim=0)
    right = normalize(torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    lens = torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    world_to_camera = torch.cat([rotation, -(rotation @ place)[:, None]], dim=1)
    return CameraBatch(world_to_camera=world_to_camera[None], intrinsics=lens[None], height=size, width=size)


def _stacked(cameras: list[CameraBatch]) -> CameraBatch:
    return CameraBatch(
        world_to_camera=torch.cat([camera.world_to_camera for camera in cameras]),
        intrinsics=torch.cat([camera.intrinsics for camera in cameras]),
        height=cameras[0].height,
        width=cameras[0].width,
    )


def _render(model: VRMM, samples: Samples, rendering: RenderConfig) -> tuple[Tensor, Tensor]:
    found = render_samples(model, samples.z_id, samples.z_e, samples.light, samples.cameras, rendering)
    return found.image[:, 0], found.alpha[:, 0]
