"""A small model of ellipsoid heads, whose identities and expressions differ visibly without any training."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float

from fitting.views import Views
from prior.cameras import CameraBatch
from prior.render import RenderConfig
from prior.template import Template, octahedral_directions
from prior.vrmm import VRMM, VRMMConfig

RADII = np.array([0.085, 0.12, 0.1])
RENDERING = RenderConfig(step=0.008)
CONFIG = VRMMConfig(
    primitives=64,
    voxels=4,
    channels=[12, 12, 8],
    light_channels=[8, 8, 8],
    light_directions=12,
    identity=8,
    expression=6,
    encoder_size=32,
)


def ellipsoid_template(resolution: int = 13) -> Template:
    """The UV grid on an ellipsoid; landmarks spread over the lower face with no symmetry that PnP could confuse."""
    axis = np.linspace(0.0, 1.0, resolution)
    u, v = np.meshgrid(axis, axis)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    index = np.arange(resolution**2).reshape(resolution, resolution)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    return Template(
        vertices=(octahedral_directions(uv) * RADII).astype(np.float32),
        uv=uv.astype(np.float32),
        faces=faces.astype(np.int32),
        landmarks=landmark_points(),
    )


def landmark_points() -> Float[np.ndarray, "68 3"]:
    """68 points on the front of the ellipsoid, head frame, metres."""
    random = np.random.default_rng(5)
    angles = random.uniform((-0.7, -0.8), (0.7, 0.4), (68, 2))
    across, up = np.sin(angles[:, 0]), np.sin(angles[:, 1])
    depth = np.sqrt(np.maximum(1.0 - across**2 - up**2, 0.05))
    return (np.stack([across, up, depth], axis=1) * RADII).astype(np.float32)


def tiny_model(seed: int = 0, subjects: int = 5) -> VRMM:
    """Random weights, scaled so that codes change shape and colour and no colour is negative."""
    torch.manual_seed(seed)
    model = VRMM(CONFIG, ellipsoid_template(), tuple(f"s{i}" for i in range(subjects))).eval()
    with torch.no_grad():
        for name, parameter in model.appearance_decoder.named_parameters():
            if name.startswith(("light", "lobe", "shading")):
                parameter.abs_()
        model.mesh_decoder.layers[-1].weight.mul_(20.0)
        model.identity_codes.weight.mul_(2.0)
    return model


def cameras(yaws: tuple[float, ...], size: int = 32, distance: float = 1.0, focal: float = 3.2) -> CameraBatch:
    """Cameras around the y axis (degrees, 0 in front) that look at the origin; ``focal`` in image sides."""
    places = []
    for yaw in np.radians(yaws):
        center = distance * np.array([np.sin(yaw), 0.05, np.cos(yaw)])
        forward = -center / np.linalg.norm(center)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        places.append(np.concatenate([rotation, (-rotation @ center)[:, None]], axis=1))
    lens = [[focal * size, 0.0, size / 2], [0.0, focal * size, size / 2], [0.0, 0.0, 1.0]]
    return CameraBatch(
        world_to_camera=torch.tensor(np.stack(places), dtype=torch.float32),
        intrinsics=torch.tensor([lens] * len(yaws)),
        height=size,
        width=size,
    )


def blank_views(batch: CameraBatch, *, placed: bool = True, focal_known: bool = True) -> Views:
    """Views without pictures, to be filled."""
    count = len(batch.intrinsics)
    shape = (batch.height, batch.width)
    return Views(
        names=tuple(f"view{i}.png" for i in range(count)),
        images=torch.zeros(count, 3, *shape),
        masks=torch.zeros(count, 1, *shape),
        valid=torch.ones(count, 1, *shape),
        landmarks=torch.zeros(count, 68, 2),
        cameras=batch,
        crops=np.stack([np.eye(3)] * count),
        focal_known=focal_known,
        placed=placed,
    )


def with_pictures(views: Views, images: torch.Tensor, masks: torch.Tensor, landmarks: torch.Tensor) -> Views:
    """The same views with pictures and landmarks."""
    return dataclasses.replace(views, images=images, masks=masks, landmarks=landmarks)
