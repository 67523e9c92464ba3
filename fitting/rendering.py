"""A fitted head through its cameras, differentiable in everything that a fit looks for."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.state import Solution
from prior.cameras import CameraBatch
from prior.primitives import Placement
from prior.render import RenderConfig, Rendering, render_primitives, view_directions
from prior.vrmm import VRMM


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadImages:
    """K renderings of one head.

    Attributes:
        image: [K, 3, H, W] linear radiance, premultiplied.
        alpha: [K, 1, H, W].
        vertices: [1 or K, V, 3] base mesh, head frame, metres.
    """

    image: Float[Tensor, "K 3 H W"]
    alpha: Float[Tensor, "K 1 H W"]
    vertices: Float[Tensor, "M V 3"]


def render_solution(model: VRMM, solution: Solution, config: RenderConfig) -> HeadImages:
    """Render all views of a solution; a shared expression is decoded once.

    Gradients reach codes, light, weights and pose, and the focal lengths through the places of the primitives.
    """
    cameras, rotation, translation = solution.cameras, solution.rotation, solution.translation
    views = len(rotation)
    fixed = dataclasses.replace(cameras, intrinsics=cameras.intrinsics.detach())
    frames = len(solution.z_e)
    geometry = model.decode_geometry(solution.z_id.expand(frames, -1), solution.z_e)
    directions = view_directions(fixed, rotation.detach(), translation.detach())
    directions = directions.reshape(frames, views // frames, 3)
    light = head_light(model, solution, rotation.reshape(frames, views // frames, 3, 3)[:, 0].detach())
    voxels = model.decode_color(geometry, directions, light).flatten(0, 1)[:, None]
    # Relative to where the head is now, so that pose and lens can be differentiated while the rays stand still.
    place = translation.detach()
    placement = geometry.placement.repeated(views // frames).moved(rotation, translation - place)
    placement = _through_lens(placement, place, cameras)
    rendering = render_primitives(placement, voxels, _eyes(rotation), place, fixed, config)
    return HeadImages(image=rendering.image[:, 0], alpha=rendering.alpha[:, 0], vertices=geometry.vertices)


def head_light(model: VRMM, solution: Solution, rotation: Float[Tensor, "F 3 3"]) -> Float[Tensor, "F L 3"]:
    """The fitted light in the frames of heads with these rotations (head→world)."""
    light = solution.light.expand(len(rotation), *solution.light.shape)
    if solution.light_rotation is None:
        return light
    sphere = model.light_sphere
    world = (sphere.directions @ solution.light_rotation.T).expand(len(rotation), -1, -1)
    return sphere.radiance(world, light * sphere.solid_angle, rotation)


def render_samples(
    model: VRMM,
    z_id: Float[Tensor, "S I"],
    z_e: Float[Tensor, "S E"],
    light: Float[Tensor, "S L 3"],
    cameras: CameraBatch,
    config: RenderConfig,
) -> Rendering:
    """One view each of S heads at the origin; ``cameras`` and ``light`` are in the head frame."""
    rotation = _eyes(z_id[:, None].expand(-1, 3, -1))
    translation = torch.zeros_like(rotation[:, 0])
    geometry = model.decode_geometry(z_id, z_e)
    voxels = model.decode_color(geometry, view_directions(cameras, rotation, translation), light)
    return render_primitives(geometry.placement, voxels, rotation, translation, cameras, config)


def _through_lens(placement: Placement, place: Float[Tensor, "K 3"], cameras: CameraBatch) -> Placement:
    """The same primitives, whose derivative by the focal length is that of the picture.

    A longer lens is the same as a scene stretched across the optical axis. The stretch is 1, so only gradients
    change; boxes grow with it by its mean over the three axes.
    """
    if not cameras.intrinsics.requires_grad:
        return placement
    focal = cameras.intrinsics[:, 0, 0]
    stretch = focal / focal.detach()
    to_camera, shift = cameras.world_to_camera[:, :, :3], cameras.world_to_camera[:, :, 3]
    factor = torch.stack([stretch, stretch, torch.ones_like(stretch)], dim=-1)[:, None]
    seen = (placement.center + place[:, None]) @ to_camera.transpose(1, 2) + shift[:, None]
    moved = (seen * (factor - 1.0)) @ to_camera
    return Placement(
        center=placement.center + moved,
        rotation=placement.rotation,
        half_size=placement.half_size * (stretch ** (2.0 / 3.0))[:, None, None],
    )


def _eyes(like: Float[Tensor, "K 3 N"]) -> Float[Tensor, "K 3 3"]:
    return torch.eye(3, dtype=like.dtype, device=like.device).expand(len(like), 3, 3)
