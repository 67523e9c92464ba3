"""Hair as a shell over the scalp: how far it stands off the skin, for a few style directions."""

import numpy as np
from jaxtyping import Float

HAIR_NAMES = ("hair_volume", "hair_recession", "hair_length", "hair_curl")
"""Identity directions every head model of the light stage shares, standard normal coefficients."""

HIDDEN = -0.003
"""Offset in metres of shell points where no hair grows: under the skin, so that the skin shows."""

# Height (metres, head frame) of the hairline over the azimuth (degrees from the nose): brow-side front, receding
# temple, sideburn, ear, behind the ear, nape.
_AZIMUTH = np.array([0.0, 20.0, 36.0, 52.0, 66.0, 76.0, 84.0, 100.0, 116.0, 135.0, 155.0, 180.0])
_HAIRLINE = np.array([0.077, 0.075, 0.067, 0.05, 0.026, 0.012, 0.034, 0.036, 0.004, -0.042, -0.06, -0.062])
_FRONT = np.array([1.0, 1.0, 1.35, 1.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
_LOWER = np.array([0.0, 0.0, 0.0, 0.1, 0.5, 0.8, 0.0, 0.0, 0.7, 1.0, 1.0, 1.0])


def hair_cover(points: Float[np.ndarray, "*N 3"], style: Float[np.ndarray, "4"]) -> Float[np.ndarray, "*N"]:
    """Signed depth (metres) of points inside the hairy region: positive where hair grows.

    Args:
        points: on the neutral scalp, head frame, metres.
        style: coefficients of ``HAIR_NAMES``.
    """
    azimuth = np.degrees(np.arctan2(np.abs(points[..., 0]), points[..., 2] + 0.005))
    recession = 0.010 * style[1] + 0.022 * np.maximum(style[1] - 0.8, 0.0)
    line = _HAIRLINE + recession * _FRONT - 0.010 * style[2] * _LOWER
    tufts = 0.0016 * np.sin(0.55 * azimuth + 3.0 * style[3]) + 0.0012 * np.sin(1.3 * azimuth + 2.0 * style[0])
    depth = 0.8 * (points[..., 1] - np.interp(azimuth, _AZIMUTH, line) + tufts)
    crown = np.array([0.0, 0.105, -0.02])
    bald = 0.085 * np.clip(style[1] - 1.1, 0.0, 0.9)
    from_crown = np.linalg.norm((points - crown) / np.array([0.9, 1.0, 1.2]), axis=-1)
    return np.minimum(depth, from_crown - bald) if bald > 0 else depth


def hair_offset(points: Float[np.ndarray, "*N 3"], style: Float[np.ndarray, "4"]) -> Float[np.ndarray, "*N"]:
    """How far (metres) the shell stands off the skin along its normal; ``HIDDEN`` outside the hairy region."""
    thickness = 0.011 * np.exp(0.38 * style[0])
    depth = hair_cover(points, style)
    edge = np.clip(depth / 0.018, 0.0, 1.0)
    swell = np.sqrt(edge * (2.0 - edge)) * (0.55 + 0.45 * np.clip(depth / 0.06, 0.0, 1.0))
    locks = _locks(points, style[3])
    grown = 0.0015 + thickness * swell * (1.0 + locks)
    return np.where(depth > 0.0, grown, 0.0015 + (HIDDEN - 0.0015) * np.clip(-depth / 0.006, 0.0, 1.0))


def _locks(points: np.ndarray, curl: float) -> np.ndarray:
    """Relative relief of locks: waves along the combing direction, rounder and stronger for curly hair."""
    azimuth = np.arctan2(points[..., 0], points[..., 2])
    frequency = 240.0 + 60.0 * np.tanh(curl)
    bumps = np.sin(frequency * points[..., 0] + 2.1 * np.sin(70 * points[..., 2])) * np.sin(
        frequency * 0.8 * points[..., 2] + 1.7 * np.sin(60 * points[..., 1])
    ) + 0.7 * np.sin(frequency * points[..., 1] + 5.0 * azimuth)
    strands = np.sin(23.0 * azimuth + 30.0 * points[..., 1]) + 0.6 * np.sin(41.0 * azimuth - 22.0 * points[..., 1])
    return 0.10 * bumps * (1.0 + np.tanh(curl)) + 0.05 * strands * (1.0 - np.tanh(curl))
