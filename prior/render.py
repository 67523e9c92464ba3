"""Π of eq. 8: primitives, pose and cameras to images."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from prior.cameras import CameraBatch, near_far_of_sphere
from prior.primitives import Placement
from prior.raymarch import raymarch
from prior.vrmm import VRMM


@dataclasses.dataclass(kw_only=True)
class RenderConfig:
    """How rays are marched.

    Attributes:
        step: distance between samples, metres.
        radius: of the sphere around the head inside which rays are marched, metres.
        backend: of ``prior.raymarch``.
    """

    step: float = 0.0045
    radius: float = 0.17
    backend: str = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """Images of a batch of frames.

    Attributes:
        image: [B, V, 3, H, W] linear radiance, premultiplied.
        alpha: [B, V, 1, H, W].
    """

    image: Float[Tensor, "B V 3 H W"]
    alpha: Float[Tensor, "B V 1 H W"]


def view_directions(
    cameras: CameraBatch, rotation: Float[Tensor, "B 3 3"], translation: Float[Tensor, "B 3"]
) -> Float[Tensor, "B V 3"]:
    """Unit vectors from the head to its cameras in the head frame; ``cameras`` hold V views for each head."""
    centers = cameras.centers.reshape(len(rotation), -1, 3)
    in_head = (centers - translation[:, None]) @ rotation
    return torch.nn.functional.normalize(in_head, dim=-1)


def render_primitives(
    placement: Placement,
    voxels: Float[Tensor, "B V K D H W 4"],
    rotation: Float[Tensor, "B 3 3"],
    translation: Float[Tensor, "B 3"],
    cameras: CameraBatch,
    config: RenderConfig,
) -> Rendering:
    """March the rays of V cameras for each of B heads (eq. 2, 3).

    ``cameras`` holds B·V cameras, the views of a head in a row; ``placement`` is in the head frame.
    """
    batch, views = voxels.shape[:2]
    world = placement.moved(rotation, translation).repeated(views)
    origin, direction = cameras.rays()
    center = translation.detach().repeat_interleave(views, 0)
    rgba = raymarch(
        origin,
        direction,
        near_far_of_sphere(origin, direction, center, config.radius),
        config.step,
        world.center,
        world.rotation,
        world.half_size,
        voxels.flatten(0, 1),
        backend=config.backend,
        image_shape=(cameras.height, cameras.width),
    )
    image = rgba.reshape(batch, views, cameras.height, cameras.width, 4).permute(0, 1, 4, 2, 3)
    return Rendering(image=image[:, :, :3], alpha=image[:, :, 3:])


def render_head(
    model: VRMM,
    z_id: Float[Tensor, "B I"],
    z_e: Float[Tensor, "B E"],
    light: Float[Tensor, "B N 3"],
    rotation: Float[Tensor, "B 3 3"],
    translation: Float[Tensor, "B 3"],
    cameras: CameraBatch,
    config: RenderConfig,
) -> Rendering:
    """Decode and render in one go; ``light`` is in the head frame."""
    geometry = model.decode_geometry(z_id, z_e)
    voxels = model.decode_color(geometry, view_directions(cameras, rotation, translation), light)
    return render_primitives(geometry.placement, voxels, rotation, translation, cameras, config)
