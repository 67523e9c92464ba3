"""Lat-long environment maps: loading, rotation, conversion to lamps, and maps made from a seed.

The one place for the direction convention. A map is the panorama that someone in the place of the head sees:
row 0 is straight up (+y), the middle column is straight ahead of the face (+z), and columns to the left of it are
to the subject's left (+x). With u in [0, 1) across and v in [0, 1] down::

    azimuth = 2 pi (0.5 - u),  polar = pi v,  direction = (sin(polar) sin(azimuth), cos(polar), sin(polar) cos(azimuth))

in the world frame of ``datasets.capture``. Radiance is linear RGB. This is also Mitsuba's own orientation.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from datasets.capture import Light
from datasets.errors import VrmmError
from datasets.lightstage.rig import sphere_directions

FAR_RADIUS_METRES = 100.0
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentMap:
    """Light from infinitely far away.

    Attributes:
        radiance: [H, W, 3] linear RGB arriving, never negative; orientation as documented in this module.
    """

    radiance: Float[np.ndarray, "H W 3"]

    def __post_init__(self) -> None:
        if self.radiance.ndim != 3 or self.radiance.shape[2] != 3 or min(self.radiance.shape[:2]) < 2:
            raise VrmmError(f"an environment map is [H, W, 3] pixels, at least 2x2, not {self.radiance.shape}")
        if not np.isfinite(self.radiance).all():
            raise VrmmError("the environment map holds NaN or infinite radiance; mend or replace the file")
        if (self.radiance < 0).any():
            raise VrmmError("the environment map holds negative radiance; clip it at 0 first")

    @property
    def directions(self) -> Float[np.ndarray, "H W 3"]:
        """Unit vectors from the origin towards the centre of each texel, world frame."""
        height, width = self.radiance.shape[:2]
        return _directions((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)

    @property
    def solid_angles(self) -> Float[np.ndarray, "H W"]:
        """Steradians of each texel; they add up to 4 pi."""
        height, width = self.radiance.shape[:2]
        bands = -np.diff(np.cos(np.pi * np.arange(height + 1) / height))
        return np.repeat(bands[:, None] * (2.0 * np.pi / width), width, axis=1)

    @property
    def flux(self) -> Float[np.ndarray, "3"]:
        """Radiance integrated over the sphere: the sum of the irradiances of the lamps that would replace it."""
        return (self.radiance * self.solid_angles[..., None]).sum(axis=(0, 1))

    def scaled(self, factor: float) -> "EnvironmentMap":
        return EnvironmentMap(radiance=self.radiance * factor)

    def rotated(self, azimuth: float) -> "EnvironmentMap":
        """The map turned around the y axis so that what was ahead (+z) comes from ``azimuth`` radians to the left."""
        width = self.radiance.shape[1]
        source = (np.arange(width) + 0.5 + azimuth / (2.0 * np.pi) * width - 0.5) % width
        left = np.floor(source).astype(int)
        weight = (source - left)[:, None]
        radiance = self.radiance[:, left % width] * (1 - weight) + self.radiance[:, (left + 1) % width] * weight
        return EnvironmentMap(radiance=radiance)

    def reduced(self, height: int = 64) -> "EnvironmentMap":
        """The map in at most ``height`` rows, averaged so that every light keeps its power."""
        import cv2

        if self.radiance.shape[0] <= height:
            return self
        area = self.solid_angles[:, :1].astype(np.float32)
        size = (2 * height, height)
        power = cv2.resize((self.radiance * area[..., None]).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        area = cv2.resize(area, (1, height), interpolation=cv2.INTER_AREA)
        return EnvironmentMap(radiance=power / area.reshape(height, 1, 1))

    def to_light(self, lamps: int = 256) -> Light:
        """Far lamps that replace the map.

        Each lamp gathers the texels nearest to one of ``lamps`` uniform directions: its irradiance is the sum of
        radiance × solid angle and it stands where their luminance is centred, so small suns stay in place.
        """
        centers = sphere_directions(lamps)
        directions = self.directions.reshape(-1, 3)
        flux = self.radiance.reshape(-1, 3) * self.solid_angles.reshape(-1, 1)
        cell = np.argmax(directions @ centers.T, axis=1)
        irradiance = np.stack([np.bincount(cell, flux[:, k], minlength=lamps) for k in range(3)], axis=1)
        weight = flux @ _LUMINANCE
        toward = np.stack([np.bincount(cell, weight * directions[:, k], minlength=lamps) for k in range(3)], axis=1)
        length = np.linalg.norm(toward, axis=1, keepdims=True)
        toward = np.where(length > 1e-9 * max(weight.max(), 1e-30), toward / np.maximum(length, 1e-30), centers)
        return Light(positions=toward * FAR_RADIUS_METRES, irradiance=irradiance)

    def emitters(self, mi: ModuleType) -> dict[str, Any]:
        """The map as a Mitsuba emitter."""
        bitmap = mi.Bitmap(np.ascontiguousarray(self.radiance, dtype=np.float32))
        return {"environment": {"type": "envmap", "bitmap": bitmap}}


def load_environment(path: Path | str) -> EnvironmentMap:
    """Read a lat-long panorama: ``.hdr``, ``.exr``, or an 8-bit ``.jpg`` or ``.png``, whose sRGB values are undone.

    Raises:
        VrmmError: a missing or unreadable file, or NaN or negative radiance in it.
    """
    path = Path(path)
    if not path.is_file():
        raise VrmmError(f"environment map {path} does not exist")
    from datasets.lightstage.bitmaps import read_bitmap
    from datasets.lightstage.mitsuba_scene import mitsuba

    mi = mitsuba()
    try:
        bitmap = read_bitmap(path).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False)
    except (OSError, RuntimeError) as error:
        raise VrmmError(f"{path} is not an image that can be read; give a lat-long .hdr, .exr or .jpg file") from error
    try:
        return EnvironmentMap(radiance=np.array(bitmap, np.float32))
    except VrmmError as error:
        raise VrmmError(f"{path}: {error}") from error


def environment_names() -> tuple[str, ...]:
    """The maps that ``make_environment`` knows."""
    return tuple(_MAPS)


def make_environment(name: str, seed: int = 0, height: int = 64) -> EnvironmentMap:
    """A made-up place, [height, 2 height] texels, scaled to a mean radiance of 1 in luminance.

    Args:
        name: one of ``environment_names()``.
        seed: varies where its lights stand.
        height: texels.

    Raises:
        VrmmError: an unknown name.
    """
    if name not in _MAPS:
        raise VrmmError(f"there is no environment {name!r}; there are {', '.join(_MAPS)}")
    directions = _directions((np.arange(2 * height) + 0.5) / (2 * height), (np.arange(height) + 0.5) / height)
    made = EnvironmentMap(radiance=_MAPS[name](directions, np.random.default_rng(seed)))
    return made.scaled(4.0 * np.pi / float(made.flux @ _LUMINANCE))


def _directions(u: Float[np.ndarray, "W"], v: Float[np.ndarray, "H"]) -> Float[np.ndarray, "H W 3"]:
    azimuth, polar = 2.0 * np.pi * (0.5 - u)[None, :], np.pi * v[:, None]
    return np.stack(
        [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0.0 * azimuth, np.sin(polar) * np.cos(azimuth)], axis=-1
    )


def _toward(azimuth_degrees: float, elevation_degrees: float) -> Float[np.ndarray, "3"]:
    azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
    return np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])


def _spot(directions: np.ndarray, center: np.ndarray, radius_degrees: float, softness: float = 0.3) -> np.ndarray:
    """[H, W, 1] in [0, 1]: a round light of an angular radius, soft over a part of it."""
    angle = np.degrees(np.arccos(np.clip(directions @ center, -1.0, 1.0)))
    return np.clip((radius_degrees - angle) / (softness * radius_degrees) + 0.5, 0.0, 1.0)[..., None]


def _studio(directions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A key softbox, a weak fill from the other side and a rim light in a dark room."""
    side = random.choice([-1.0, 1.0])
    key = _spot(directions, _toward(side * random.uniform(30, 60), random.uniform(15, 45)), 22.0)
    fill = _spot(directions, _toward(-side * random.uniform(40, 80), random.uniform(0, 20)), 30.0)
    rim = _spot(directions, _toward(-side * random.uniform(130, 160), 30.0), 12.0)
    return 0.05 + 12.0 * key * [1.0, 0.96, 0.9] + 2.0 * fill * [0.9, 0.95, 1.0] + 15.0 * rim * [0.95, 0.97, 1.0]


def _sky(directions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A clear sky with the sun, grass below."""
    up = directions[..., 1:2]
    sun = _toward(random.uniform(-70, 70), random.uniform(25, 60))
    sky = np.where(up > 0, 1.0, 0.0) * ([0.35, 0.55, 1.0] + np.exp(-4.0 * np.abs(up)) * np.array([0.6, 0.5, 0.3]))
    ground = np.where(up > 0, 0.0, 1.0) * np.array([0.16, 0.18, 0.08])
    return sky + ground + 150.0 * _spot(directions, sun, 5.0) * [1.0, 0.93, 0.8]


def _sunset(directions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A low red sun and a glowing horizon."""
    up = directions[..., 1:2]
    sun = _toward(random.uniform(-120, 120), 5.0)
    glow = (0.5 + 0.5 * (directions @ sun)[..., None]) ** 3 * np.exp(-5.0 * np.abs(up))
    night = np.clip(up, 0.0, 1.0) * [0.10, 0.12, 0.30]
    return 0.04 + night + 3.0 * glow * [1.0, 0.45, 0.2] + 80.0 * _spot(directions, sun, 5.0) * [1.0, 0.5, 0.2]


def _window(directions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A room with a bright cool window on one side and a warm wall opposite."""
    azimuth = np.degrees(np.arctan2(directions[..., 0], directions[..., 2]))
    elevation = np.degrees(np.arcsin(np.clip(directions[..., 1], -1.0, 1.0)))
    center = random.choice([-1.0, 1.0]) * random.uniform(50, 100)
    inside = (np.abs((azimuth - center + 180) % 360 - 180) < 25) & (elevation > -10) & (elevation < 40)
    warm = np.clip(-directions @ _toward(center, 0.0), 0.0, 1.0)[..., None]
    return 0.12 + 0.25 * warm * [1.0, 0.75, 0.5] + 9.0 * inside[..., None] * np.array([0.85, 0.95, 1.1])


def _neon(directions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A night with one coloured light on each side."""
    first, second = random.permutation([[1.0, 0.15, 0.55], [0.1, 0.8, 1.0]])
    left = _spot(directions, _toward(random.uniform(50, 90), random.uniform(-10, 30)), 20.0)
    right = _spot(directions, _toward(-random.uniform(50, 90), random.uniform(-10, 30)), 20.0)
    return 0.03 + 8.0 * left * first + 8.0 * right * second


_MAPS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "studio": _studio,
    "sky": _sky,
    "sunset": _sunset,
    "window": _window,
    "neon": _neon,
}
