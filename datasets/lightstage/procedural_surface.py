"""The average head as a signed distance field: smooth unions and differences of ellipsoids and capsules.

Millimetres in the head frame. Lids and lips are closed here; ``procedural_sheet`` cuts them open. The anatomy is
symmetric, so every primitive is written for the subject's left side only. Smooth minimum and the bound on the
distance to an ellipsoid follow I. Quilez, "Distance functions" (iquilezles.org).
"""

import numpy as np
from jaxtyping import Float

EYE_CENTER = np.array([31.0, 4.0, 65.0])
EYE_RADIUS = 12.0
LID_RADIUS = 13.6
MOUTH_HEIGHT = -63.0
MOUTH_HALF_WIDTH = 25.0
NECK_BOTTOM = -126.0

_Vector = tuple[float, float, float]


def smooth_min(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Quadratic smooth minimum; ``blend`` is the width (mm) over which the two surfaces melt together."""
    overlap = np.maximum(blend - np.abs(first - second), 0.0) / blend
    return np.minimum(first, second) - 0.25 * blend * overlap**2


def smooth_max(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Quadratic smooth maximum."""
    return -smooth_min(-first, -second, blend)


def _ellipsoid(points: np.ndarray, center: _Vector, radii: _Vector) -> np.ndarray:
    offset = (points - np.array(center, points.dtype)) / np.array(radii, points.dtype)
    length = np.linalg.norm(offset, axis=-1)
    return length * (length - 1.0) / np.maximum(np.linalg.norm(offset / np.array(radii, points.dtype), axis=-1), 1e-9)


def _capsule(points: np.ndarray, start: _Vector, end: _Vector, radius: float, end_radius: float) -> np.ndarray:
    axis = np.array(end, points.dtype) - np.array(start, points.dtype)
    offset = points - np.array(start, points.dtype)
    along = np.clip(offset @ axis / (axis @ axis), 0.0, 1.0)
    return np.linalg.norm(offset - along[..., None] * axis, axis=-1) - (radius + along * (end_radius - radius))


def _skull(points: np.ndarray) -> np.ndarray:
    """Cranium, forehead, face, cheekbones, jaw, chin, neck."""
    head = _ellipsoid(points, (0.0, 28.0, -20.0), (73.0, 84.0, 91.0))
    head = smooth_min(head, _ellipsoid(points, (0.0, 36.0, 18.0), (60.0, 55.0, 64.0)), 20.0)
    head = smooth_min(head, _ellipsoid(points, (0.0, -32.0, 20.0), (59.0, 76.0, 63.0)), 25.0)
    head = smooth_min(head, _capsule(points, (45.0, -15.0, 47.0), (56.0, -8.0, 8.0), 13.0, 12.0), 30.0)
    head = smooth_min(head, _ellipsoid(points, (30.0, -36.0, 58.0), (20.0, 24.0, 22.0)), 24.0)
    head = smooth_min(head, _ellipsoid(points, (37.0, -40.0, 16.0), (20.0, 32.0, 28.0)), 30.0)
    head = smooth_min(head, _capsule(points, (39.0, -60.0, 10.0), (13.0, -91.0, 62.0), 12.0, 12.0), 30.0)
    head = smooth_min(head, _ellipsoid(points, (0.0, -62.0, 56.0), (31.0, 26.0, 37.0)), 18.0)
    head = smooth_min(head, _ellipsoid(points, (0.0, -92.0, 74.0), (15.0, 13.5, 15.5)), 16.0)
    neck = _capsule(points, (0.0, -40.0, -32.0), (0.0, -200.0, -40.0), 49.0, 50.0)
    return smooth_min(head, neck, 24.0)


def _brows_and_sockets(head: np.ndarray, points: np.ndarray) -> np.ndarray:
    head = smooth_min(head, _capsule(points, (9.0, 20.0, 77.0), (34.0, 25.0, 69.0), 8.0, 7.5), 14.0)
    head = smooth_min(head, _capsule(points, (34.0, 25.0, 69.0), (50.0, 14.0, 48.0), 7.5, 7.0), 20.0)
    head = smooth_max(head, -_ellipsoid(points, (28.5, 4.0, 90.0), (15.5, 8.5, 15.0)), 14.0)
    x, y, z = EYE_CENTER
    lids = _ellipsoid(points, (x, y, z), (LID_RADIUS, LID_RADIUS, LID_RADIUS))
    return smooth_min(head, lids, 6.0)


def _nose(head: np.ndarray, points: np.ndarray) -> np.ndarray:
    nose = _capsule(points, (0.0, 12.0, 79.0), (0.0, -24.0, 98.0), 7.0, 7.6)
    nose = smooth_min(nose, _capsule(points, (0.0, 4.0, 72.0), (0.0, -30.0, 82.0), 9.0, 13.0), 14.0)
    nose = smooth_min(nose, _ellipsoid(points, (0.0, -31.0, 102.0), (9.0, 8.5, 9.0)), 6.0)
    nose = smooth_min(nose, _ellipsoid(points, (10.5, -36.0, 93.5), (6.2, 6.8, 9.0)), 9.0)
    nose = smooth_min(nose, _capsule(points, (0.0, -38.0, 102.0), (0.0, -43.0, 91.0), 3.6, 4.0), 4.0)
    nose = smooth_max(nose, -_ellipsoid(points, (6.4, -43.5, 98.0), (3.0, 4.5, 4.6)), 2.5)
    return smooth_min(head, nose, 13.0)


def _lips(head: np.ndarray, points: np.ndarray) -> np.ndarray:
    head = smooth_max(head, -_capsule(points, (0.0, -46.0, 101.0), (0.0, -55.0, 99.5), 3.4, 4.2), 5.0)
    upper = _capsule(points, (5.0, -58.4, 90.8), (22.0, -62.3, 79.0), 5.0, 3.0)
    upper = smooth_min(upper, _capsule(points, (0.0, -59.4, 91.2), (5.0, -58.4, 90.8), 4.6, 5.0), 3.0)
    lower = _capsule(points, (0.0, -68.4, 89.2), (11.0, -67.6, 87.4), 5.7, 5.4)
    lower = smooth_min(lower, _capsule(points, (11.0, -67.6, 87.4), (22.0, -64.2, 79.0), 5.4, 3.0), 3.0)
    head = smooth_min(head, upper, 5.0)
    head = smooth_min(head, lower, 5.0)
    head = smooth_max(head, -_capsule(points, (0.0, -80.0, 97.5), (14.0, -78.5, 92.0), 5.0, 4.0), 8.0)
    line = _capsule(points, (0.0, MOUTH_HEIGHT, 99.0), (12.0, MOUTH_HEIGHT, 95.5), 2.0, 2.0)
    line = np.minimum(line, _capsule(points, (12.0, MOUTH_HEIGHT, 95.5), (27.0, MOUTH_HEIGHT, 84.0), 2.0, 1.2))
    return smooth_max(head, -line, 2.4)


def head_distance(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    """Signed distance bound (mm) to the skin, negative inside."""
    folded = points.copy()
    folded[:, 0] = np.sqrt(points[:, 0] ** 2 + 0.25)  # |x| without a crease on the midline
    head = _brows_and_sockets(_skull(folded), folded)
    head = _lips(_nose(head, folded), folded)
    return smooth_max(head, NECK_BOTTOM - points[..., 1], 5.0)


def trace(
    origins: Float[np.ndarray, "N 3"], directions: Float[np.ndarray, "N 3"], reach: float = 170.0, steps: int = 48
) -> Float[np.ndarray, "N 3"]:
    """The outermost skin point on every ray, by sphere tracing inwards from ``reach`` millimetres.

    Args:
        origins: points inside the head.
        directions: unit vectors.
        reach: where tracing starts, outside the head.
        steps: of tracing.
    """
    distance = np.full(len(origins), reach, np.float32)
    origins, directions = origins.astype(np.float32), directions.astype(np.float32)
    active = np.arange(len(origins))
    for _ in range(steps):
        points = origins[active] + distance[active, None] * directions[active]
        gap = head_distance(points)
        distance[active] = np.maximum(distance[active] - 0.85 * gap, 0.0)
        active = active[np.abs(gap) > 0.01]
        if not len(active):
            break
    return (origins + distance[:, None] * directions).astype(np.float64)
