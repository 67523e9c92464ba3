"""Light of captures that do not say how they were lit."""

import math

import numpy as np

from datasets.capture import Light

UNIFORM = "uniform"
"""``Frame.light_pattern`` of a frame under ``uniform_light``."""

_LAMPS = 256
_RADIUS = 10.0


def uniform_light() -> Light:
    """The same white radiance 1 from everywhere, so that a white matt surface shows radiance 1.

    Flat-lit stages are close to it. Its lamps lie evenly on a sphere (Fibonacci lattice) of 10 m, which is far for a
    head, and share the irradiance 4π that a point receives from all directions.
    """
    index = np.arange(_LAMPS) + 0.5
    azimuth = math.pi * (1.0 + math.sqrt(5.0)) * index
    height = 1.0 - 2.0 * index / _LAMPS
    radius = np.sqrt(1.0 - height**2)
    directions = np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=1)
    return Light(positions=_RADIUS * directions, irradiance=np.full((_LAMPS, 3), 4.0 * math.pi / _LAMPS))
