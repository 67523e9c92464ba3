"""Identity directions of the procedural head: smooth displacement fields of space.

Each field is a function of the position on the average head, so skin, ears, hair, teeth and eye centres all follow
the same warp. Millimetres in the head frame, displacement for one standard deviation.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from datasets.lightstage.procedural_surface import EYE_CENTER, MOUTH_HEIGHT

_Field = Callable[[np.ndarray], np.ndarray]


def step(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """Smooth step from 0 at ``start`` to 1 at ``end`` (either order)."""
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(points: np.ndarray, center: tuple[float, float, float], width: tuple[float, float, float]) -> np.ndarray:
    """A Gaussian of height 1."""
    return np.exp(-0.5 * (((points - np.array(center)) / np.array(width)) ** 2).sum(-1))


def both(points: np.ndarray, center: tuple[float, float, float], width: tuple[float, float, float]) -> np.ndarray:
    """The same Gaussian on both sides of the head."""
    folded = points * np.array([1.0, 1.0, 1.0])
    folded[..., 0] = np.abs(points[..., 0])
    return bump(folded, center, width)


def push(weight: np.ndarray, x: np.ndarray | float = 0.0, y: np.ndarray | float = 0.0, z: np.ndarray | float = 0.0):
    """A displacement field: weight times a direction."""
    return np.stack([weight * x, weight * y, weight * z], -1)


def _side(points: np.ndarray) -> np.ndarray:
    """-1 on the subject's right, +1 on the left, smooth over the midline."""
    return np.tanh(points[..., 0] / 4.0)


def _front(points: np.ndarray) -> np.ndarray:
    return step(points[..., 2], -20.0, 40.0)


_NOSE = (0.0, -22.0, 95.0)

FIELDS: dict[str, _Field] = {
    "head_width": lambda p: push(p[..., 0], x=0.035),
    "head_height": lambda p: push(p[..., 1] + 20.0, y=0.028),
    "head_depth": lambda p: push(p[..., 2], z=0.03),
    "face_width": lambda p: push(p[..., 0] * _front(p) * step(p[..., 1], 60.0, 10.0), x=0.035),
    "jaw_width": lambda p: push(p[..., 0] * step(p[..., 1], -20.0, -65.0) * step(p[..., 1], -135.0, -105.0), x=0.07),
    "jaw_angle": lambda p: (
        push(both(p, (55.0, -66.0, 10.0), (18.0, 20.0, 25.0)), y=-5.0)
        + push(both(p, (55.0, -66.0, 10.0), (18.0, 20.0, 25.0)) * _side(p), x=2.0)
    ),
    "chin_length": lambda p: push(step(p[..., 1], -72.0, -98.0) * step(p[..., 2], 0.0, 55.0), y=-3.6),
    "chin_projection": lambda p: push(bump(p, (0.0, -95.0, 80.0), (24.0, 14.0, 30.0)), z=3.8),
    "chin_width": lambda p: push(p[..., 0] * bump(p, (0.0, -94.0, 75.0), (28.0, 14.0, 30.0)), x=0.16),
    "midface_length": lambda p: push(step(p[..., 1], -10.0, -55.0) * step(p[..., 1], -140.0, -110.0), y=-2.6),
    "philtrum_length": lambda p: push(bump(p, (0.0, -66.0, 90.0), (30.0, 13.0, 40.0)), y=-1.7),
    "nose_length": lambda p: push(bump(p, (0.0, -35.0, 97.0), (14.0, 13.0, 22.0)), y=-2.6),
    "nose_width": lambda p: push(both(p, (11.0, -36.0, 94.0), (8.0, 10.0, 14.0)) * _side(p), x=2.2),
    "nose_bridge": lambda p: push(bump(p, (0.0, -2.0, 85.0), (8.0, 15.0, 16.0)), z=2.6),
    "nose_bridge_width": lambda p: push(p[..., 0] * bump(p, (0.0, -6.0, 88.0), (14.0, 18.0, 14.0)), x=0.16),
    "nose_hump": lambda p: push(bump(p, (0.0, -12.0, 93.0), (8.0, 9.0, 14.0)), z=2.3),
    "nose_projection": lambda p: push(bump(p, _NOSE, (13.0, 17.0, 14.0)), z=3.2),
    "nose_tip_up": lambda p: push(bump(p, (0.0, -32.0, 106.0), (11.0, 11.0, 11.0)), y=2.8, z=0.6),
    "nose_tip_width": lambda p: push(p[..., 0] * bump(p, (0.0, -31.0, 103.0), (12.0, 9.0, 12.0)), x=0.15),
    "eye_spacing": lambda p: push(both(p, tuple(EYE_CENTER), (16.0, 18.0, 30.0)) * _side(p), x=1.9),
    "brow_height": lambda p: push(both(p, (30.0, 27.0, 75.0), (26.0, 8.0, 30.0)), y=2.2),
    "brow_ridge": lambda p: push(both(p, (24.0, 23.0, 80.0), (22.0, 8.0, 22.0)), z=2.3),
    "brow_tilt": lambda p: push(
        both(p, (42.0, 25.0, 65.0), (12.0, 8.0, 25.0)) - both(p, (12.0, 25.0, 82.0), (9.0, 8.0, 20.0)), y=1.8
    ),
    "lip_upper": lambda p: push(bump(p, (0.0, -57.5, 96.0), (17.0, 3.2, 14.0)), y=1.3, z=1.6),
    "lip_lower": lambda p: push(bump(p, (0.0, -70.5, 94.0), (16.0, 4.2, 14.0)), y=-1.5, z=1.8),
    "mouth_width": lambda p: push(p[..., 0] * bump(p, (0.0, MOUTH_HEIGHT, 88.0), (30.0, 12.0, 26.0)), x=0.085),
    "mouth_projection": lambda p: push(bump(p, (0.0, -62.0, 92.0), (26.0, 16.0, 30.0)), z=2.6),
    "mouth_curve": lambda p: push(both(p, (24.0, MOUTH_HEIGHT, 84.0), (8.0, 8.0, 14.0)), y=1.3),
    "cheekbones": lambda p: (
        push(both(p, (54.0, -12.0, 42.0), (18.0, 12.0, 24.0)) * _side(p), x=2.8)
        + push(both(p, (54.0, -12.0, 42.0), (18.0, 12.0, 24.0)), z=1.8)
    ),
    "cheek_fat": lambda p: (
        push(both(p, (46.0, -46.0, 52.0), (18.0, 20.0, 26.0)) * _side(p), x=3.6)
        + push(both(p, (44.0, -46.0, 56.0), (18.0, 20.0, 26.0)), z=2.0)
    ),
    "jowls": lambda p: (
        push(both(p, (34.0, -92.0, 42.0), (22.0, 18.0, 30.0)) * _side(p), x=3.2)
        + push(bump(p, (0.0, -106.0, 45.0), (36.0, 14.0, 34.0)), y=-3.6)
    ),
    "forehead_slope": lambda p: push(bump(p, (0.0, 68.0, 62.0), (48.0, 20.0, 40.0)), z=3.2),
    "forehead_width": lambda p: push(p[..., 0] * step(p[..., 1], 20.0, 55.0) * _front(p), x=0.035),
    "occiput": lambda p: push(bump(p, (0.0, 10.0, -110.0), (50.0, 35.0, 40.0)), z=-4.0),
    "neck_width": lambda p: push(p[..., 0] * step(p[..., 1], -70.0, -120.0) * step(p[..., 2], 40.0, 0.0), x=0.08),
}


def displacement(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "I N 3"]:
    """All fields at points of the average head, in the order of ``FIELDS``; millimetres."""
    return np.stack([field(points) for field in FIELDS.values()])
