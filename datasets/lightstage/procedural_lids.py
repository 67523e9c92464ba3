"""Lids of the procedural head: skin that slides over the eyeball."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage.procedural_sheet import EYE_CORNERS, Sheet, Slit
from datasets.lightstage.procedural_surface import EYE_CENTER, EYE_RADIUS, LID_RADIUS

_UPPER_REACH, _LOWER_REACH = 1.15, 0.85


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lids:
    """One eye's share of the skin.

    Attributes:
        side: +1 for the subject's left eye.
        center: [3] of the eyeball on the average head, millimetres.
        vertices: [N] skin vertices near the eye, without lid margins.
        near: [N] 1 close to the eye, 0 at the end of the region: how rigidly a vertex follows the eyeball.
        upper, lower: [N] share of the motion of the upper and lower lid's edge.
        slit: the cut between the lids.
    """

    side: float
    center: Float[np.ndarray, "3"]
    vertices: Int[np.ndarray, "N"]
    near: Float[np.ndarray, "N"]
    upper: Float[np.ndarray, "N"]
    lower: Float[np.ndarray, "N"]
    slit: Slit

    def follow(
        self,
        points: Float[np.ndarray, "V 3"],
        rest: Float[np.ndarray, "V 3"],
        center: Float[np.ndarray, "3"],
        size: float,
    ) -> None:
        """Make the region a rigid, scaled copy of the average one around the person's eyeball, in place."""
        rigid = center + size * (rest[self.vertices] - self.center)
        points[self.vertices] += self.near[:, None] * (rigid - points[self.vertices])

    def turn(
        self,
        points: Float[np.ndarray, "V 3"],
        center: Float[np.ndarray, "3"],
        size: float,
        tilt: float,
        upper: float,
        lower: float,
    ) -> None:
        """Open the closed lids to the two edge elevations (radians) and keep them off the eyeball, in place.

        Args:
            points: [V, 3] skin with closed lids, changed.
            center: of the eyeball.
            size: of the eyeball relative to the average.
            tilt: roll (radians) of the opening, positive lifts the outer corner.
            upper, lower: elevations of the middle of the lids' edges.
        """
        offset = points[self.vertices] - center
        angle = self.upper * upper + self.lower * lower
        turned = offset.copy()
        turned[:, 1] = np.cos(angle) * offset[:, 1] + np.sin(angle) * offset[:, 2]
        turned[:, 2] = -np.sin(angle) * offset[:, 1] + np.cos(angle) * offset[:, 2]
        roll = self.side * tilt * self.near
        rolled = turned.copy()
        rolled[:, 0] = np.cos(roll) * turned[:, 0] - np.sin(roll) * turned[:, 1]
        rolled[:, 1] = np.sin(roll) * turned[:, 0] + np.cos(roll) * turned[:, 1]
        distance = np.linalg.norm(rolled, axis=1, keepdims=True)
        points[self.vertices] = center + rolled * (_at_least(distance, LID_RADIUS * size) / distance)
        self._margins(points, center, size)

    def _margins(self, points: np.ndarray, center: np.ndarray, size: float) -> None:
        for edge, rim in ((self.slit.upper, self.slit.upper_rim), (self.slit.lower, self.slit.lower_rim)):
            offset = points[edge[1:-1]] - center
            length = np.linalg.norm(offset, axis=1, keepdims=True)
            points[rim[0][1:-1]] = center + offset * (0.96 * EYE_RADIUS * size / length)


def _at_least(value: np.ndarray, least: float, blend: float = 0.8) -> np.ndarray:
    """A smooth maximum that never falls below ``least``."""
    gap = np.maximum(blend - np.abs(value - least), 0.0) / blend
    return np.maximum(value, least) + 0.25 * blend * gap**2


def build_lids(sheet: Sheet, side: float) -> Lids:
    """Find an eye's region on the sheet."""
    center = EYE_CENTER * np.array([side, 1.0, 1.0])
    offset = sheet.points - center
    distance = np.linalg.norm(offset, axis=1)
    body = (sheet.parent == np.arange(len(sheet.parent))) | (sheet.twin >= 0)
    vertices = np.where(body & (distance < 34.0) & (offset[:, 2] > -8.0))[0]
    offset, distance = offset[vertices], distance[vertices]
    near = _fade((distance - 16.5) / 15.0)
    lens = _almond(side * sheet.points[vertices, 0])
    elevation = np.arctan2(offset[:, 1], np.maximum(offset[:, 2], 1e-3))
    below = sheet.below_eyes[vertices] > 0
    close = _fade((distance - 17.0) / 8.0)
    upper = np.where(below, 0.0, lens * _fade(np.maximum(elevation, 0.0) / _UPPER_REACH) * close)
    lower = np.where(below, lens * _fade(np.maximum(-elevation, 0.0) / _LOWER_REACH) * close, 0.0)
    slit = sheet.eye_left if side > 0 else sheet.eye_right
    return Lids(side=side, center=center, vertices=vertices, near=near, upper=upper, lower=lower, slit=slit)


def _almond(x: np.ndarray) -> np.ndarray:
    """Opening along the lids from the inner (0) over the middle (1) to the outer corner (0)."""
    along = np.clip((x - EYE_CORNERS[0]) / (EYE_CORNERS[1] - EYE_CORNERS[0]), 0.0, 1.0)
    return np.sqrt(np.clip(1.0 - np.abs(2.0 * along - 1.0) ** 2.2, 0.0, 1.0))


def _fade(value: np.ndarray) -> np.ndarray:
    """1 below 0, 0 above 1, smooth."""
    t = np.clip(value, 0.0, 1.0)
    return 1.0 - t * t * (3.0 - 2.0 * t)
