"""A small mirror ball in the corner of the view: the lamp stands where its highlight is."""

import math

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, "3"]

RADIUS = 0.055
"""In heights of the view."""
CORNER = (-0.92, 0.8)
"""Centre of the ball in half widths (less its radius) and half heights of the view, y down."""
DEPTH = 0.3
"""Share of the way to the target at which the ball hangs: before every head."""


class MirrorBall:
    """Where the ball hangs, world frame. Final.

    Args:
        eye: of the camera.
        rotation: [3, 3] camera→world, OpenCV axes.
        distance: to the target, metres.
        fov: across the height, radians.
        aspect: width by height.
    """

    def __init__(self, eye: Vector, rotation: Float[np.ndarray, "3 3"], distance: float, fov: float, aspect: float):
        depth = DEPTH * distance
        half = depth * math.tan(0.5 * fov)
        self.radius = 2.0 * half * RADIUS
        place = np.array([CORNER[0] * (half * aspect - self.radius), CORNER[1] * half, depth])
        self.center: Vector = np.asarray(eye, np.float64) + rotation @ place
        toward = np.asarray(eye, np.float64) - self.center
        self._toward_eye: Vector = toward / np.linalg.norm(toward)

    def highlight(self, lamp: Vector) -> Vector:
        """Where on the ball the eye sees a far lamp in direction ``lamp``."""
        half = lamp + self._toward_eye
        length = float(np.linalg.norm(half))
        if length < 1e-6:  # exactly behind the ball: anywhere on its rim
            half, length = np.cross(self._toward_eye, [0.0, 1.0, 0.0]), 1.0
        return self.center + self.radius * half / max(float(np.linalg.norm(half)), 1e-12)

    def lamp(self, origin: Vector, direction: Vector) -> Vector | None:
        """The direction of the lamp whose highlight a ray from the eye meets; None where it misses the ball."""
        direction = np.asarray(direction, np.float64) / np.linalg.norm(direction)
        offset = np.asarray(origin, np.float64) - self.center
        middle = -float(offset @ direction)
        miss = float(offset @ offset) - middle**2
        if miss > self.radius**2 or middle <= 0.0:
            return None
        hit = offset + direction * (middle - math.sqrt(self.radius**2 - miss))
        normal = hit / np.linalg.norm(hit)
        return 2.0 * float(normal @ self._toward_eye) * normal - self._toward_eye
