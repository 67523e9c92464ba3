"""The training objective L_total = L_img + L_reg + L_exp (eq. 9) of one batch."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from datasets.batch import FrameBatch
from prior import losses
from prior.cameras import CameraBatch
from prior.capture_model import CaptureModel, CaptureModelConfig, Seen
from prior.encoders import Encoding
from prior.losses import LossConfig
from prior.perceptual import VGGDistance
from prior.render import RenderConfig, Rendering, render_primitives, view_directions
from prior.vrmm import VRMM, Geometry


def sample_generators(seed: int, step: int, keys: list[str]) -> list[torch.Generator]:
    """One random stream a sample, a pure function of seed, step and key: the same on any number of ranks."""
    generators = []
    for key in keys:
        digest = hashlib.blake2b(f"{seed}/{step}/{key}".encode(), digest_size=8).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1))
    return generators


class Objective(nn.Module):
    """Encode, decode, render and compare; returns every term's weighted sum under ``total`` and each by name.

    With ``recompute`` the decoders' activations are not kept but computed again in the backward pass: less memory
    for about a third more time.
    """

    def __init__(
        self,
        model: VRMM,
        weights: LossConfig,
        rendering: RenderConfig,
        *,
        capture: CaptureModel | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.capture = capture or CaptureModel(CaptureModelConfig(), 0)
        self.model, self.weights, self.rendering, self.recompute = model, weights, rendering, recompute
        # In a tuple, so that it is no part of the state that is optimised and saved.
        self._vgg = (VGGDistance(Path(weights.vgg_weights)),) if weights.vgg_weights else ()

    def forward(
        self,
        batch: FrameBatch,
        generators: list[torch.Generator],
        with_consistency: bool,
        progress: float = 1.0,
        with_shading: bool = True,
    ) -> dict[str, Float[Tensor, ""]]:
        """All terms of a batch.

        Args:
            batch: frames.
            generators: one for each frame (``sample_generators``).
            with_consistency: whether to compute eq. 13.
            progress: part of the training that is done, 0 to 1 (``LossConfig.at``).
            with_shading: whether to compute what holds for light from any single direction.
        """
        if progress < self.weights.coarse:
            batch = batch.with_halved_targets()
        encoding = self.model.encode(batch.input_images, batch.input_masks)
        z_e = encoding.sample(self._noise(encoding.mean.shape[1], generators, encoding.mean))
        z_id = self.model.identity_code(batch.subject)
        light = self._light(batch, encoding.rotation)
        geometry = self._decode(self.model.decode_geometry, z_id, z_e)
        cameras = _target_cameras(batch)
        directions = view_directions(cameras, encoding.rotation.detach(), encoding.translation.detach())
        voxels = self._decode(self.model.decode_color, geometry, directions, light)
        rendering = render_primitives(
            geometry.placement, voxels, encoding.rotation, encoding.translation, cameras, self.rendering
        )
        seen = self.capture(rendering, batch.camera, batch.target_masks, light)
        terms = self._image_terms(rendering, seen, batch.target_images, batch.target_masks)
        terms |= self._regularizers(encoding, geometry, z_id)
        single = self._single_direction(light, generators)  # drawn at every step: later draws do not depend on it
        if with_shading:
            terms |= self._light_physics(geometry, directions, single)
        if with_consistency:
            consistency, other = self._consistency(batch, encoding, z_e, z_id, light, generators)
            terms |= consistency
            terms["negative"] = terms["negative"] + losses.below_zero(other.image.flatten(0, 1)).mean()
        return self._weighted(terms, progress)

    def _decode(self, decoder: Callable[..., Any], *inputs: Any) -> Any:
        return checkpoint(decoder, *inputs, use_reentrant=False) if self.recompute else decoder(*inputs)

    def _noise(self, length: int, generators: list[torch.Generator], like: Tensor) -> Tensor:
        return torch.stack([torch.randn(length, generator=g) for g in generators]).to(like)

    def _light(self, batch: FrameBatch, rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B N 3"]:
        """The frame's lamps seen from the head as the model believes it is turned."""
        return self.model.light_sphere.radiance(batch.lamp_directions, batch.lamp_irradiance, rotation.detach())

    def _light_physics(
        self, geometry: Geometry, directions: Float[Tensor, "B V 3"], single: Float[Tensor, "B N 1"]
    ) -> dict[str, Tensor]:
        """What holds for light from any ``single`` direction, whether a frame shows it alone or not."""
        if self.weights.shading == 0 and self.weights.attached_shadow == 0:
            return {}
        every = slice(None, None, self.weights.shading_stride)
        single = single[every]
        shading = self.model.decode_shading(
            [level[every] for level in geometry.features], directions[every, :1], single
        )
        terms = {}
        if self.weights.shading > 0:
            terms["shading"] = losses.below_zero(shading).mean()
        if self.weights.attached_shadow > 0:
            behind = self.model.lobes.behind(single / single.sum(dim=1, keepdim=True))
            terms["attached_shadow"] = losses.attached_shadow(shading, behind).mean()
        return terms

    def _single_direction(
        self, light: Float[Tensor, "B N 3"], generators: list[torch.Generator]
    ) -> Float[Tensor, "B N 1"]:
        """All the light of every frame, without colour, from one random direction."""
        count = light.shape[1]
        chosen = torch.tensor([int(torch.randint(count, (), generator=g)) for g in generators], device=light.device)
        total = light.sum(dim=1).mean(dim=1)
        return (nn.functional.one_hot(chosen, count) * total[:, None])[..., None]

    def _image_terms(self, rendering: Rendering, seen: Seen, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        image, alpha = seen.image.flatten(0, 1), rendering.alpha.flatten(0, 1)
        target, mask = images.flatten(0, 1), masks.flatten(0, 1)
        toned, toned_target = losses.tone(image), losses.tone(target)
        terms = {
            "l1": losses.photometric(toned, toned_target).mean(),
            "alpha": (losses.silhouette(alpha, mask) * seen.masked.flatten()).mean(),
            "negative": losses.below_zero(rendering.image.flatten(0, 1)).mean(),
        }
        if self.weights.l2 > 0:
            terms["l2"] = losses.squared(toned, toned_target).mean()
        if self.weights.perceptual > 0:
            distance = self._vgg[0].to(image.device) if self._vgg else losses.structural
            terms["perceptual"] = distance(toned, toned_target).mean()
        return terms

    def _regularizers(self, encoding: Encoding, geometry: Geometry, z_id: Tensor) -> dict[str, Tensor]:
        return {
            "kl": losses.kl_divergence(encoding.mean, encoding.log_variance).mean(),
            "volume": losses.volume(geometry.scale).mean(),
            "scale": losses.scale_regularization(geometry.scale, self.weights.shortest).mean(),
            "identity": (z_id**2).sum(dim=1).mean(),
        }

    def _consistency(
        self,
        batch: FrameBatch,
        encoding: Encoding,
        z_e: Tensor,
        z_id: Tensor,
        light: Tensor,
        generators: list[torch.Generator],
    ) -> tuple[dict[str, Tensor], Rendering]:
        """Eq. 12 and 13 on every n-th frame of the batch, at the encoder's resolution; and the picture of eq. 12."""
        every = slice(None, None, self.weights.consistency_stride)
        z_e, z_id, own_light = z_e[every], z_id[every], light[every]
        rotation, translation = encoding.rotation[every].detach(), encoding.translation[every].detach()
        other_id, other_light = self._other_conditions(batch.subject[every], own_light, generators[every])
        size = self.model.config.encoder_size
        inputs = _input_cameras(batch, every).resized(size, size)
        other = self._render(other_id, z_e, other_light, rotation, translation, inputs)
        seen = self.capture(other, batch.input_camera[every], batch.input_masks[every], other_light)
        code = self.model.encode_expression(seen.image, seen.coverage)
        # z_e is the truth here: with a gradient the two would meet where neither says anything
        terms = {"consistency_code": ((code - z_e.detach()) ** 2).sum(dim=1).mean()}
        if self.weights.consistency_image > 0:
            cameras = _target_cameras(batch, every, views=1).resized(size, size)
            again = self._render(z_id, code, own_light, rotation, translation, cameras)
            again_seen = self.capture(again, batch.camera[every, :1], batch.target_masks[every, :1], own_light)
            target = nn.functional.interpolate(batch.target_images[every, 0], size=(size, size), mode="area")
            terms["consistency_image"] = losses.photometric(
                losses.tone(again_seen.image.flatten(0, 1)), losses.tone(target)
            ).mean()
        return terms, other

    def _other_conditions(
        self, subject: Tensor, light: Tensor, generators: list[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """A random other identity j and another light n for every sample.

        The other light is one direction alone or three together, with the total of the sample's own.
        """
        subjects, lights = [], []
        population, directions = len(self.model.subjects), light.shape[1]
        for own, total, generator in zip(subject.tolist(), light.sum(dim=1), generators, strict=True):
            offset = int(torch.randint(1, population, (), generator=generator)) if population > 1 else 0
            subjects.append((own + offset) % population)
            burning = 1 if float(torch.rand((), generator=generator)) < 0.5 else 3
            chosen = torch.randperm(directions, generator=generator)[:burning].to(light.device)
            lights.append(torch.zeros_like(light[0]).index_fill(0, chosen, 1.0 / burning) * total)
        numbers = torch.tensor(subjects, device=light.device)
        return self.model.identity_code(numbers), torch.stack(lights)

    def _render(
        self, z_id: Tensor, z_e: Tensor, light: Tensor, rotation: Tensor, translation: Tensor, cameras: CameraBatch
    ) -> Rendering:
        geometry = self._decode(self.model.decode_geometry, z_id, z_e)
        directions = view_directions(cameras, rotation, translation)
        voxels = self._decode(self.model.decode_color, geometry, directions, light)
        return render_primitives(geometry.placement, voxels, rotation, translation, cameras, self.rendering)

    def _weighted(self, terms: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        total = torch.stack([self.weights.at(name, progress) * value for name, value in terms.items()]).sum()
        return {"total": total, **{name: value.detach() for name, value in terms.items()}}


def _target_cameras(batch: FrameBatch, rows: slice = slice(None), views: int | None = None) -> CameraBatch:
    height, width = batch.target_images.shape[-2:]
    return CameraBatch(
        world_to_camera=batch.world_to_camera[rows, :views].flatten(0, 1),
        intrinsics=batch.intrinsics[rows, :views].flatten(0, 1),
        height=height,
        width=width,
    )


def _input_cameras(batch: FrameBatch, rows: slice) -> CameraBatch:
    height, width = batch.input_images.shape[-2:]
    return CameraBatch(
        world_to_camera=batch.input_world_to_camera[rows].flatten(0, 1),
        intrinsics=batch.input_intrinsics[rows].flatten(0, 1),
        height=height,
        width=width,
    )
