"""The light of a state as lamps of the world."""

import functools
import math

import numpy as np

from datasets.capture import Light
from datasets.lightstage.environment import EnvironmentMap, environment_names, load_environment, make_environment
from prior.lighting import fibonacci_directions
from tools.viewer.state import Colour, Lighting, LightKind

USUAL_IRRADIANCE = 11.0
"""Of all lamps together where no training light is known: a white wall lit from everywhere is then just not white."""
AROUND = 32
"""Lamps that stand for light from everywhere."""
ENVIRONMENT_LAMPS = 256
TEXEL_ROWS = 128
"""Maps are reduced to at most so many rows: finer ones change no lamp, and take seconds."""


def lamps(lighting: Lighting, irradiance: float) -> Light:
    """The lamps of a lighting by lamp or environment.

    Args:
        lighting: of a state.
        irradiance: of all lamps together at intensity 1.

    Raises:
        VrmmError: an environment map that cannot be read.
    """
    power = irradiance * lighting.intensity
    light = _turned(lighting) if lighting.kind is LightKind.ENVIRONMENT else _lamp_and_fill(lighting)
    return Light(positions=light.positions, irradiance=light.irradiance * power * linear(lighting.colour))


def linear(colour: Colour) -> np.ndarray:
    """[3] linear RGB of an sRGB colour."""
    encoded = np.array(colour, np.float64) / 255.0
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def toward(azimuth_degrees: float, elevation_degrees: float) -> np.ndarray:
    """Unit vector; azimuth 0 is in front of the face, positive to its left."""
    azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
    return np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])


def angles(direction: np.ndarray) -> tuple[float, float]:
    """Azimuth and elevation in degrees of a unit vector: the inverse of ``toward``."""
    x, y, z = (float(value) for value in direction)
    return math.degrees(math.atan2(x, z)), math.degrees(math.asin(min(max(y, -1.0), 1.0)))


def _lamp_and_fill(lighting: Lighting) -> Light:
    around = fibonacci_directions(AROUND)
    power = np.concatenate([[1.0 - lighting.fill], np.full(AROUND, lighting.fill / AROUND)])
    positions = np.concatenate([[toward(lighting.azimuth, lighting.elevation)], around])
    return Light(positions=positions, irradiance=np.repeat(power[:, None], 3, axis=1))


def _turned(lighting: Lighting) -> Light:
    """The map's lamps, turned: cheaper and sharper than to turn the map."""
    light = _environment_lamps(lighting.environment)
    angle = math.radians(lighting.turn)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return Light(positions=light.positions @ turn.T, irradiance=light.irradiance)


@functools.lru_cache(maxsize=16)
def _environment_lamps(environment: str) -> Light:
    """Lamps of a map by name or path; their irradiances have a mean over colours that sums to 1."""
    made = environment in environment_names()
    found = make_environment(environment) if made else load_environment(environment)
    light = _reduced(found).to_light(ENVIRONMENT_LAMPS)
    return light.scaled(1.0 / max(float(light.irradiance.mean(axis=1).sum()), 1e-12))


def _reduced(environment: EnvironmentMap) -> EnvironmentMap:
    """The same map with fewer texels, each the mean of those that it covers."""
    height, width = environment.radiance.shape[:2]
    factor = max(height // TEXEL_ROWS, 1)
    rows, columns = height // factor, width // factor
    if factor == 1 or not columns:
        return environment
    import cv2

    return EnvironmentMap(radiance=cv2.resize(environment.radiance, (columns, rows), interpolation=cv2.INTER_AREA))
