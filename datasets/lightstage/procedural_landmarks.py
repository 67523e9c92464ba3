"""The Multi-PIE 68 landmarks as fixed vertices of the procedural skin."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage.procedural_sheet import Sheet

# Targets (mm, average head, subject's left half; the midline has x = 0).
_JAW = [
    (72, 4, 16),
    (70, -16, 18),
    (67, -36, 24),
    (63, -55, 31),
    (55, -75, 40),
    (43, -91, 52),
    (30, -101, 66),
    (15, -106, 78),
]
_JAW_MIDDLE = (0, -107, 82)
_BROW = [(12, 22, 88), (22, 26, 85), (32, 28, 79), (42, 26, 70), (51, 19, 57)]
_NOSE = [(0, 6, 88), (0, -6, 93), (0, -18, 100), (0, -31, 111)]
_NOSTRIL = [(13, -42, 92), (7, -44, 95)]
_NOSE_BASE = (0, -46, 95)
_UPPER_LIP = [(15, -58.6, 90), (5.0, -54.8, 96)]
_UPPER_LIP_MIDDLE = (0, -55.8, 96)
_LOWER_LIP = [(15, -70.5, 89), (8, -73.2, 92)]
_LOWER_LIP_MIDDLE = (0, -74, 93)


def find_landmarks(sheet: Sheet, opened: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, "68"]:
    """Vertex numbers of the landmarks, the subject's right (the left of the image) first.

    Args:
        sheet: the skin.
        opened: its vertices with the eyes open, millimetres.
    """
    left = _Finder(sheet, opened)
    jaw = [left.near(point) for point in _JAW]
    brow = [left.near(point) for point in _BROW]
    nose = [left.near(point) for point in (*_NOSE, _NOSE_BASE)]
    nostril = [left.near(point) for point in _NOSTRIL]
    upper = [left.near(point) for point in (*_UPPER_LIP, _UPPER_LIP_MIDDLE)]
    lower = [left.near(point) for point in (*_LOWER_LIP, _LOWER_LIP_MIDDLE)]
    mirror = left.mirror
    eye = sheet.eye_left
    third = len(eye.upper) // 3
    eye_upper, eye_lower = eye.upper[[third, -1 - third]], eye.lower[[third, -1 - third]]
    right_eye = [
        mirror(v) for v in (eye.upper[-1], eye_upper[1], eye_upper[0], eye.upper[0], eye_lower[0], eye_lower[1])
    ]
    mouth = sheet.mouth
    middle, half = len(mouth.upper) // 2, len(mouth.upper) // 4
    return np.array(
        [
            *(mirror(v) for v in jaw),
            left.near(_JAW_MIDDLE),
            *jaw[::-1],
            *(mirror(v) for v in brow[::-1]),
            *brow,
            *nose[:4],
            *(mirror(v) for v in nostril),
            nose[4],
            *nostril[::-1],
            *right_eye,
            eye.upper[0],
            eye_upper[0],
            eye_upper[1],
            eye.upper[-1],
            eye_lower[1],
            eye_lower[0],
            mouth.upper[0],
            mirror(upper[0]),
            mirror(upper[1]),
            upper[2],
            upper[1],
            upper[0],
            mouth.upper[-1],
            lower[0],
            lower[1],
            lower[2],
            mirror(lower[1]),
            mirror(lower[0]),
            mouth.upper[1],
            mouth.upper[middle - half],
            mouth.upper[middle],
            mouth.upper[middle + half],
            mouth.upper[-2],
            mouth.lower[middle + half],
            mouth.lower[middle],
            mouth.lower[middle - half],
        ]
    )


class _Finder:
    """Nearest skin vertices (no rims) and mirror images."""

    def __init__(self, sheet: Sheet, points: np.ndarray) -> None:
        self._points = points
        self._rest = sheet.points
        self._outer = sheet.parent == np.arange(len(points))
        self._below = sheet.below_eyes

    def near(self, point: Sequence[int | float]) -> int:
        distance = np.linalg.norm(self._points - np.array(point, float), axis=1)
        if point[0] == 0:
            distance = distance + 1e3 * np.abs(self._points[:, 0])
        return int(np.argmin(np.where(self._outer, distance, np.inf)))

    def mirror(self, vertex: int | np.integer) -> int:
        image = self._rest[vertex] * np.array([-1.0, 1.0, 1.0])
        distance = np.linalg.norm(self._rest - image, axis=1) + 1e-3 * np.abs(self._below - self._below[vertex])
        return int(np.argmin(np.where(self._outer, distance, np.inf)))
