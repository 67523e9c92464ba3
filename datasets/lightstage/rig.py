"""Where the cameras and lamps of the synthetic light stage stand."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera
from datasets.errors import VrmmError

INPUT_AZIMUTHS_DEGREES = (0.0, 40.0, -40.0)
"""The first cameras: frontal ones, made to be the inputs of encoders."""

_HELD_OUT_BORDER_DEGREES = (22.0, 10.0)


@dataclasses.dataclass(kw_only=True)
class RigConfig:
    """Cameras on a patch of a sphere in front of the face, lamps all around.

    Attributes:
        image_size: width and height of an image, pixels.
        train_cameras: the first three look from the front and from 40° to each side.
        held_out_cameras: cameras between the training ones, for novel views.
        azimuth_degrees: the patch reaches so far to each side of the face.
        lowest_degrees, highest_degrees: elevation range of the patch.
        camera_distance: of every camera from the origin, metres.
        field_of_view_degrees: the whole angle across an image; the head with hair and chin fills it.
        lamps: number of lamps, nearly uniform over the whole sphere.
        lamp_distance: of every lamp from the origin, metres.
    """

    image_size: int = 96
    train_cameras: int = 8
    held_out_cameras: int = 2
    azimuth_degrees: float = 78.0
    lowest_degrees: float = -15.0
    highest_degrees: float = 30.0
    camera_distance: float = 1.0
    field_of_view_degrees: float = 19.0
    lamps: int = 32
    lamp_distance: float = 1.5

    def __post_init__(self) -> None:
        positive = ("image_size", "train_cameras", "camera_distance", "field_of_view_degrees", "lamps", "lamp_distance")
        for name in positive:
            if getattr(self, name) <= 0:
                raise VrmmError(f"rig.{name} must be positive, not {getattr(self, name)}")
        if self.held_out_cameras < 0:
            raise VrmmError(f"rig.held_out_cameras must not be negative, not {self.held_out_cameras}")
        if self.highest_degrees < self.lowest_degrees:
            raise VrmmError("rig.highest_degrees must not be below rig.lowest_degrees")


def make_cameras(config: RigConfig) -> tuple[Camera, ...]:
    """Training cameras, then held-out ones; names ``cam00``, ``cam01``, …"""
    level = 0.5 * (config.lowest_degrees + config.highest_degrees)
    placed = [direction(azimuth, min(level, 4.0)) for azimuth in INPUT_AZIMUTHS_DEGREES[: config.train_cameras]]
    placed = _spread(placed, _patch(config, (0.0, 0.0)), config.train_cameras)
    placed = _spread(placed, _patch(config, _HELD_OUT_BORDER_DEGREES), config.train_cameras + config.held_out_cameras)
    return tuple(
        look_at_origin(
            name=f"cam{index:02d}",
            position=direction * config.camera_distance,
            field_of_view=np.radians(config.field_of_view_degrees),
            size=config.image_size,
            split="train" if index < config.train_cameras else "held_out",
        )
        for index, direction in enumerate(placed)
    )


def lamp_positions(config: RigConfig) -> Float[np.ndarray, "L 3"]:
    """Lamps on the Fibonacci sphere, world frame, metres."""
    return sphere_directions(config.lamps) * config.lamp_distance


def sphere_directions(count: int) -> Float[np.ndarray, "N 3"]:
    """Nearly uniform unit vectors over the whole sphere: the Fibonacci lattice around the y axis, top first."""
    index = np.arange(count) + 0.5
    height = 1.0 - 2.0 * index / count
    radius = np.sqrt(1.0 - height**2)
    azimuth = np.pi * (1.0 + np.sqrt(5.0)) * index
    return np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=1)


def look_at_origin(
    *, name: str, position: Float[np.ndarray, "3"], field_of_view: float, size: int, split: str = "train"
) -> Camera:
    """A square camera at ``position`` (metres, world) that looks at the origin, y up.

    Args:
        name: of the camera.
        position: not on the y axis.
        field_of_view: angle across the image, radians.
        size: pixels.
        split: ``"train"`` or ``"held_out"``.
    """
    forward = -np.asarray(position, np.float64) / np.linalg.norm(position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 0.5 * size / np.tan(0.5 * field_of_view)
    return Camera(
        name=name,
        world_to_camera=np.concatenate([rotation, (-rotation @ position)[:, None]], axis=1),
        intrinsics=np.array([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]]),
        width=size,
        height=size,
        split=split,
    )


def direction(azimuth_degrees: float, elevation_degrees: float) -> Float[np.ndarray, "3"]:
    """Unit vector; azimuth 0 is in front of the face, positive towards the subject's left."""
    azimuth, elevation = np.radians(azimuth_degrees), np.radians(elevation_degrees)
    return np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])


def _patch(config: RigConfig, border: tuple[float, float]) -> Float[np.ndarray, "N 3"]:
    """Directions on a grid of the patch, without a border of so many degrees of azimuth and elevation."""
    reach = max(config.azimuth_degrees - border[0], 0.0)
    middle = 0.5 * (config.lowest_degrees + config.highest_degrees)
    half = max(0.5 * (config.highest_degrees - config.lowest_degrees) - border[1], 0.0)
    return np.array(
        [
            direction(azimuth, elevation)
            for elevation in np.linspace(middle - half, middle + half, 19)
            for azimuth in np.linspace(-reach, reach, 41)
        ]
    )


def _spread(placed: list[np.ndarray], candidates: Float[np.ndarray, "N 3"], count: int) -> list[np.ndarray]:
    """Adds the candidate farthest from all that are placed until there are ``count``."""
    placed = list(placed)
    while len(placed) < count:
        nearest = (candidates @ np.array(placed).T).max(axis=1)
        placed.append(candidates[np.argmin(nearest.round(9))])
    return placed
