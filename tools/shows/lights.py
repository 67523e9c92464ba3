"""Light that moves: a key lamp, panoramas that turn, one lamp after the other, lamps on a path."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import Light
from datasets.errors import VrmmError
from datasets.files import read_json
from datasets.lightstage.environment import EnvironmentMap, environment_names, load_environment, make_environment
from datasets.lightstage.rig import sphere_directions
from prior.lighting import fibonacci_directions
from tools.shows.people import Person

PANORAMA_SUFFIXES = (".hdr", ".exr", ".jpg", ".jpeg", ".png")
PANORAMA_LAMPS = 512
FLAT_LAMPS = 64
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
POINT_NEAREST, POINT_FARTHEST = 0.4, 0.8
"""Metres between which the lamp of ``--light point`` swings."""


class LightPath(ABC):
    """Light over a show."""

    @abstractmethod
    def at(self, place: float) -> Light:
        """The lamps at ``place`` in [0, 1)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TurningLight(LightPath):
    """Lamps that turn around the vertical axis together, or stand still.

    Attributes:
        light: at the beginning.
        turns: over the show; what was in front of the face goes to its left first.
    """

    light: Light
    turns: float = 0.0

    def at(self, place: float) -> Light:
        angle = 2.0 * np.pi * self.turns * place
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        return dataclasses.replace(self.light, positions=self.light.positions @ turn.T)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LampSweep(LightPath):
    """One lamp at a time (OLAT), in rows from the top down, each row in the other direction.

    Attributes:
        directions: [L, 3] unit vectors towards the lamps.
        irradiance: of each.
    """

    directions: Float[np.ndarray, "L 3"]
    irradiance: float

    @staticmethod
    def over_sphere(lamps: int, irradiance: float) -> "LampSweep":
        """``lamps`` nearly uniform directions. Raises VrmmError for fewer than one."""
        if lamps < 1:
            raise VrmmError(f"a sweep of {lamps} lamps shows nothing; use --lamps 1 or more")
        directions = sphere_directions(lamps)
        rows = max(1, round(np.sqrt(lamps / np.pi)))
        row = np.minimum((np.arange(lamps) * rows) // lamps, rows - 1)
        azimuth = np.arctan2(directions[:, 0], directions[:, 2]) * np.where(row % 2, -1.0, 1.0)
        return LampSweep(directions=directions[np.lexsort((azimuth, row))], irradiance=irradiance)

    def at(self, place: float) -> Light:
        lamp = min(int(place * len(self.directions)), len(self.directions) - 1)
        return Light(positions=self.directions[lamp : lamp + 1], irradiance=np.full((1, 3), self.irradiance))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovingLamp(LightPath):
    """A point lamp on a path; what arrives falls with the square of its distance from the head's centre.

    Attributes:
        positions: [T, 3] metres, world frame, evenly over the show; between them the lamp goes straight.
        intensity: [T, 3] linear RGB irradiance at one metre.
        ambient: light from everywhere besides.
    """

    positions: Float[np.ndarray, "T 3"]
    intensity: Float[np.ndarray, "T 3"]
    ambient: Light | None = None

    @staticmethod
    def spiral(irradiance: float) -> "MovingLamp":
        """Twice around the head, nearer and farther, from above to below and back."""
        turn = 2.0 * np.pi * np.linspace(0.0, 1.0, 97)
        distance = 0.5 * (POINT_FARTHEST + POINT_NEAREST) + 0.5 * (POINT_FARTHEST - POINT_NEAREST) * np.cos(3.0 * turn)
        height = np.radians(35.0) * np.cos(turn)
        toward = np.stack([np.cos(height) * np.sin(2 * turn), np.sin(height), np.cos(height) * np.cos(2 * turn)], 1)
        return MovingLamp(
            positions=toward * distance[:, None],
            intensity=np.full((97, 3), 0.8 * irradiance * POINT_NEAREST * POINT_FARTHEST),
            ambient=flat_light(0.2 * irradiance),
        )

    @staticmethod
    def read(path: Path, irradiance: float) -> "MovingLamp":
        """A lamp from JSON: ``positions`` and, if wanted, ``intensity`` (one colour, or one a position).

        Without an intensity the lamp gives ``irradiance`` at the mean distance of its path.

        Raises:
            VrmmError: no such file, or one that describes no path outside of the head; it is named.
        """
        value = read_json(path, "a lamp path")
        if not isinstance(value, dict) or not set(value) <= {"positions", "intensity"} or "positions" not in value:
            raise VrmmError(f'{path} is not a lamp path: write {{"positions": [[x, y, z], …], "intensity": [r, g, b]}}')
        positions = _numbers(value["positions"], f"{path}: positions")
        if len(positions) < 1 or (np.linalg.norm(positions, axis=1) < 0.05).any():
            raise VrmmError(f"{path}: positions must hold one or more places that are 5 cm or more from the origin")
        if "intensity" not in value:
            distance = float(np.linalg.norm(positions, axis=1).mean())
            return MovingLamp(positions=positions, intensity=np.full_like(positions, irradiance * distance**2))
        intensity = _numbers(value["intensity"], f"{path}: intensity")
        if len(intensity) not in (1, len(positions)) or (intensity < 0).any():
            raise VrmmError(f"{path}: intensity must be one colour or one for each position, never negative")
        return MovingLamp(positions=positions, intensity=np.broadcast_to(intensity, positions.shape).copy())

    def at(self, place: float) -> Light:
        where = place * (len(self.positions) - 1)
        first = int(where)
        second, share = min(first + 1, len(self.positions) - 1), where - first
        position = (1.0 - share) * self.positions[first] + share * self.positions[second]
        intensity = (1.0 - share) * self.intensity[first] + share * self.intensity[second]
        distance = max(float(np.linalg.norm(position)), 0.05)
        lamp = Light(positions=position[None], irradiance=(intensity / distance**2)[None])
        return lamp if self.ambient is None else lamp + self.ambient


@dataclasses.dataclass(frozen=True, kw_only=True)
class LightOptions:
    """What all lights are made from.

    Attributes:
        level: mean radiance that the heads are used to; lights without a measure of their own are given it.
        turns: around the vertical axis over the show.
        stops: photographic stops brighter (or, negative, dimmer).
        azimuth, elevation: of the key lamp, degrees.
        lamps: of a sweep.
    """

    level: float
    turns: float = 0.0
    stops: float = 0.0
    azimuth: float = 35.0
    elevation: float = 30.0
    lamps: int = 48

    @property
    def total(self) -> float:
        """Irradiance of all lamps together."""
        return 4.0 * np.pi * self.level * 2.0**self.stops


def make_light(name: str, options: LightOptions, person: Person) -> LightPath:
    """The light of that name, or of that file.

    Args:
        name: ``key``, ``flat``, ``olat``, ``point``, ``photo``, a made-up place (``environment_names``), a panorama
            (.hdr, .exr, .jpg, .png) or a lamp's path (.json).
        options: of all lights.
        person: whose photo ``photo`` takes the light of.

    Raises:
        VrmmError: neither a name nor a file that can be used.
    """
    if name in _NAMED:
        return _NAMED[name](options, person)
    if name in environment_names():
        return panorama(make_environment(name), options)
    path = Path(name)
    if path.suffix.lower() in PANORAMA_SUFFIXES:
        return panorama(load_environment(path), options)
    if path.suffix.lower() == ".json":
        return MovingLamp.read(path, options.total)
    raise VrmmError(
        f"there is no light {name}; there are {', '.join([*_NAMED, *environment_names()])}, panoramas "
        f"({', '.join(PANORAMA_SUFFIXES)}) and lamp paths (.json)"
    )


def panorama(environment: EnvironmentMap, options: LightOptions) -> TurningLight:
    """An environment map, as bright in all as the heads are used to.

    Raises:
        VrmmError: it is black.
    """
    light = environment.reduced().to_light(PANORAMA_LAMPS)
    flux = float(light.irradiance.sum(axis=0) @ LUMINANCE)
    if flux <= 0:
        raise VrmmError("the environment map is black; there is nothing to be seen in its light")
    return TurningLight(light=light.scaled(options.total / flux), turns=options.turns)


def key_light(azimuth_degrees: float, elevation_degrees: float, *, total: float, ambient: float = 0.25) -> Light:
    """A lamp (azimuth 0 in front of the face, positive to its left) and a weak light from everywhere.

    Args:
        azimuth_degrees, elevation_degrees: where the lamp stands.
        total: irradiance of both together.
        ambient: share of the light from everywhere.
    """
    azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
    toward = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    lamp = Light(positions=np.array([toward]), irradiance=np.full((1, 3), total * (1.0 - ambient)))
    return lamp + flat_light(total * ambient)


def flat_light(total: float) -> Light:
    """The same light from everywhere, of that irradiance in all."""
    around = fibonacci_directions(FLAT_LAMPS)
    return Light(positions=around, irradiance=np.full((FLAT_LAMPS, 3), total / FLAT_LAMPS))


def with_ball(picture: UInt8[np.ndarray, "H W 3"], light: Light) -> UInt8[np.ndarray, "H W 3"]:
    """A white matt ball under the same light, in the lower left corner."""
    radius = picture.shape[0] // 11
    y, x = np.mgrid[-radius:radius, -radius:radius] + 0.5
    height = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 0.0))
    normals = np.stack([x, -y, height], axis=-1) / radius
    cosine = np.maximum(normals @ light.directions.T, 0.0)
    shade = np.clip(0.6 / np.pi * cosine @ light.irradiance, 0.0, 1.0) ** (1 / 2.2)
    inside = np.clip(radius - np.hypot(x, y) + 0.5, 0.0, 1.0)[..., None]
    result = picture.copy()
    corner = result[-2 * radius - 6 : -6, 6 : 2 * radius + 6]
    corner[:] = (inside * shade * 255.0 + (1.0 - inside) * corner).round().astype(np.uint8)
    return result


def _key(options: LightOptions, person: Person) -> LightPath:
    return TurningLight(light=key_light(options.azimuth, options.elevation, total=options.total), turns=options.turns)


def _flat(options: LightOptions, person: Person) -> LightPath:
    return TurningLight(light=flat_light(options.total))


def _olat(options: LightOptions, person: Person) -> LightPath:
    return LampSweep.over_sphere(options.lamps, options.total)


def _point(options: LightOptions, person: Person) -> LightPath:
    return MovingLamp.spiral(options.total)


def _photo(options: LightOptions, person: Person) -> LightPath:
    if person.photo_light is None:
        raise VrmmError(f"{person.name} is no avatar: there is no photo whose light could be used; use another one")
    return TurningLight(light=person.photo_light.scaled(2.0**options.stops), turns=options.turns)


def _numbers(value: Sequence[object], what: str) -> Float[np.ndarray, "T 3"]:
    try:
        array = np.atleast_2d(np.array(value, np.float64))
    except (ValueError, TypeError) as error:
        raise VrmmError(f"{what} must be lists of three numbers: {error}") from error
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise VrmmError(f"{what} must be lists of three finite numbers, not of shape {array.shape}")
    return array


_NAMED: dict[str, Callable[[LightOptions, Person], LightPath]] = {
    "key": _key,
    "flat": _flat,
    "olat": _olat,
    "point": _point,
    "photo": _photo,
}
