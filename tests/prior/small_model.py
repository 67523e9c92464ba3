"""A small VRMM on a sphere, and inputs for it."""

import dataclasses

import numpy as np
import torch

from datasets.capture import Camera
from prior.template import Template, octahedral_directions
from prior.vrmm import VRMM, VRMMConfig

SMALL = VRMMConfig(
    primitives=64,
    voxels=4,
    channels=[16, 12, 8],
    light_channels=[8, 8, 8],
    light_directions=12,
    identity=8,
    expression=6,
    encoder_size=32,
)


def sphere_template(resolution: int = 17, radius: float = 0.1) -> Template:
    """A sphere of 10 cm with the octahedral UV grid of ``prior.template``."""
    axis = np.linspace(0.0, 1.0, resolution)
    u, v = np.meshgrid(axis, axis)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    index = np.arange(resolution**2).reshape(resolution, resolution)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    directions = octahedral_directions(uv)
    return Template(
        vertices=(radius * directions).astype(np.float32),
        uv=uv.astype(np.float32),
        faces=faces.astype(np.int32),
        landmarks=(radius * directions[:68]).astype(np.float32),
    )


def small_model(subjects: int = 3, seed: int = 0, **changes: object) -> VRMM:
    """A freshly initialised small model."""
    torch.manual_seed(seed)
    config = dataclasses.replace(SMALL, **changes)
    return VRMM(config, sphere_template(), tuple(f"s{i}" for i in range(subjects)))


def camera_at(azimuth: float, size: int = 24, distance: float = 1.0) -> Camera:
    """A camera on the horizon looking at the origin; the 10 cm sphere fills two thirds of it."""
    forward = -np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    right = np.cross(forward, [0.0, 1.0, 0.0])
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward])
    focal = size * distance / 0.3
    return Camera(
        name=f"cam{azimuth:+.2f}".replace(".", "_"),
        world_to_camera=np.concatenate([rotation, (rotation @ forward * distance)[:, None]], axis=1),
        intrinsics=np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]]),
        width=size,
        height=size,
    )
