"""The terms of eq. 14 and 15; each returns one number."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fitting.bank import TrainingBank
from fitting.light_level import LightLevel
from fitting.recipe import ImageWeights, InversionConfig
from fitting.rendering import HeadImages
from fitting.state import FitState, Solution
from fitting.views import Views
from prior import losses
from prior.lighting import LightSphere
from prior.vrmm import VRMM

NEIGHBOURS = 5
"""Directions beside each one that its light is compared with."""
LEAST_LIGHT = 1e-4
"""In units of its mean: a root of less has no useful gradient."""
LANDMARK_CORE = 0.01
"""Distances below this share of the face count quadratically."""


def image_loss(
    image: Float[Tensor, "N 3 H W"],
    alpha: Float[Tensor, "N 1 H W"],
    target: Float[Tensor, "N 3 H W"],
    mask: Float[Tensor, "N 1 H W"],
    weights: ImageWeights,
) -> Float[Tensor, ""]:
    """L_img of eq. 9, mean over the pictures; a term of weight 0 is not computed."""
    total = image.new_zeros(())
    if weights.l1 > 0:
        total = total + weights.l1 * losses.photometric(losses.tone(image), losses.tone(target)).mean()
    if weights.alpha > 0:
        total = total + weights.alpha * losses.silhouette(alpha, mask).mean()
    if weights.perceptual > 0:
        total = total + weights.perceptual * losses.structural(losses.tone(image), losses.tone(target)).mean()
    return total


def photo_loss(rendered: HeadImages, views: Views, weights: ImageWeights) -> Float[Tensor, ""]:
    """L_img against the photos where they show something."""
    return image_loss(rendered.image * views.valid, rendered.alpha * views.valid, views.images, views.masks, weights)


class CarriedLandmarks(nn.Module):
    """The template's landmarks, carried along by the nearest vertices of the deforming base mesh. Final."""

    nearest: Int[Tensor, "68 3"]
    share: Float[Tensor, "68 3 1"]
    residual: Float[Tensor, "68 3"]

    def __init__(self, model: VRMM) -> None:
        super().__init__()
        template, points = model.mesh_decoder.template, model.template_landmarks
        distance, nearest = torch.cdist(points, template).topk(3, largest=False)
        share = 1.0 / (distance + 1e-4)
        self.register_buffer("nearest", nearest)
        self.register_buffer("share", (share / share.sum(dim=1, keepdim=True))[..., None])
        self.register_buffer("residual", points - (template[nearest] * self.share).sum(dim=1))

    def forward(self, vertices: Float[Tensor, "M V 3"]) -> Float[Tensor, "M 68 3"]:
        """Landmarks of a base mesh, head frame, metres; exact for the template."""
        return (vertices[:, self.nearest] * self.share).sum(dim=2) + self.residual


def landmark_loss(points: Float[Tensor, "M 68 3"], solution: Solution, views: Views) -> Float[Tensor, ""]:
    """Mean distance of projected landmarks from the given ones, in sides of the face's box."""
    world = points @ solution.rotation.transpose(1, 2) + solution.translation[:, None]
    distance = (solution.cameras.project(world) - views.landmarks).norm(dim=-1)
    face = (views.landmarks.amax(dim=1) - views.landmarks.amin(dim=1)).amax(dim=-1, keepdim=True)
    relative = distance / face
    return (torch.sqrt(relative**2 + LANDMARK_CORE**2) - LANDMARK_CORE).mean()


class LightPrior(nn.Module):
    """How unlike a usual light a light field is: rough, coloured, not as bright as its like in training. Final."""

    neighbours: Int[Tensor, "L M"]

    def __init__(self, sphere: LightSphere, bank: TrainingBank, config: InversionConfig) -> None:
        super().__init__()
        directions = sphere.directions
        nearest = (directions @ directions.T).topk(min(NEIGHBOURS + 1, len(directions)), dim=1).indices[:, 1:]
        self.register_buffer("neighbours", nearest)
        self._config = config
        self._level = LightLevel(sphere, bank) if bank.has_lights else None

    def forward(self, state: FitState) -> Float[Tensor, ""]:
        """The weighted sum."""
        rough, tint = self.shape(state.light)
        total = self._config.light_smooth * rough + self._config.light_grey * tint
        if self._level is not None:
            mean, spread = self._level.given(state.light)
            total = total + self._config.light_level * ((state.light.mean().clamp(min=1e-8).log() - mean) / spread) ** 2
        return total

    def shape(self, light: Float[Tensor, "L 3"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """(roughness over neighbouring directions, colour): mean squares in units of the light's mean."""
        light = light / light.mean().clamp(min=1e-8)
        rough = ((light - light[self.neighbours].mean(dim=1)) ** 2).mean()
        total = light.mean(dim=0)
        tint = ((light - light.mean(dim=1, keepdim=True)) ** 2).mean() + ((total - total.mean()) ** 2).mean()
        return rough, tint


class LightGuess:
    """How unlike the light is to what the initializer saw: the squared Hellinger distance of the two shapes. Final.

    A photo lit from the left and one of a face that is darker on the right look the same to the other terms; the
    network has seen which of them there are. Brightness is left to ``LightPrior``.
    """

    def __init__(self, light: Float[Tensor, "L 3"]) -> None:
        self._root = _root_of_shape(light.detach())

    def __call__(self, light: Float[Tensor, "L 3"]) -> Float[Tensor, ""]:
        """From 0 to 1."""
        return 0.5 * ((_root_of_shape(light) - self._root) ** 2).mean()


def _root_of_shape(light: Float[Tensor, "L 3"]) -> Float[Tensor, "L 3"]:
    """The square root of the light in units of its mean."""
    return (light / light.mean().clamp(min=1e-8) + LEAST_LIGHT).sqrt()


class DepthPrior:
    """How far heads have moved along their cameras' axes since the start: squared logarithms. Final.

    From one camera a small head near by looks like a large one far away; landmarks of a mean head say what is
    usual. Zero for placed cameras that see the head from several sides, which know its distance.
    """

    def __init__(self, start: Solution, views: Views) -> None:
        self._ambiguous = not views.placed or len(views) == 1
        self._start = _depths(start).detach()

    def __call__(self, solution: Solution) -> Float[Tensor, ""]:
        """The mean over views."""
        if not self._ambiguous:
            return solution.translation.new_zeros(())
        return ((_depths(solution) / self._start).log() ** 2).mean()


def _depths(solution: Solution) -> Float[Tensor, "K"]:
    """Of the heads' centres along the cameras' axes, metres."""
    row = solution.cameras.world_to_camera[:, 2]
    return ((row[:, :3] * solution.translation).sum(dim=1) + row[:, 3]).clamp(min=1e-3)


def input_level(rendered: HeadImages, views: Views) -> float:
    """The factor by which the light must grow for the head to be as bright as in the photos."""
    inside = views.masks * views.valid * rendered.alpha.detach()
    seen = float((rendered.image.mean(dim=1, keepdim=True) * inside).sum())
    wanted = float((views.images.mean(dim=1, keepdim=True) * inside).sum())
    return float(np.clip(wanted / max(seen, 1e-8), 1e-4, 1e4))
