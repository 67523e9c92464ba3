"""The Multi-PIE 68 points from the other common sets: WFLW's 98 and the 478 of MediaPipe's face mesh."""

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError

COUNT = 68
IRISES = 10
"""The last points of MediaPipe's 478; its older models have none."""

_WFLW: tuple[tuple[int, ...], ...] = (
    *[(2 * k,) for k in range(17)],  # 33 points along the jaw
    *[(33,), (34, 41), (35, 40), (36, 39), (37, 38)],  # the middle between the brow's two edges
    *[(42, 50), (43, 49), (44, 48), (45, 47), (46,)],
    *[(k,) for k in range(51, 60)],
    *[(60,), (61,), (63,), (64,), (65,), (67,)],  # without the middle of each lid
    *[(68,), (69,), (71,), (72,), (73,), (75,)],
    *[(k,) for k in range(76, 96)],
)
"""For each of the 68, the points of WFLW (Wu et al., Look at Boundary, 2018) whose mean it is."""

_MEDIAPIPE: tuple[tuple[int, ...], ...] = (
    # the face's oval, from the subject's right ear over the chin
    *[(127,), (234, 93), (93, 132), (58,), (172,), (136, 150), (149,), (176, 148), (152,)],
    *[(400, 377), (378,), (365, 379), (397,), (288,), (323, 361), (454, 323), (356,)],
    *[(70, 46), (63, 53), (105, 52), (66, 65), (107, 55)],
    *[(336, 285), (296, 295), (334, 282), (293, 283), (300, 276)],
    *[(168, 6), (197,), (195, 5), (4,)],
    *[(98,), (97,), (2,), (326,), (327,)],
    *[(33,), (160,), (158,), (133,), (153,), (144,)],
    *[(362,), (385,), (387,), (263,), (373,), (380,)],
    *[(61,), (39, 40), (37,), (0,), (267,), (269, 270), (291,)],
    *[(405, 321), (314,), (17,), (84,), (181, 91)],
    *[(78,), (81,), (13,), (311,), (308,), (402,), (14,), (178,)],
)
"""For each of the 68, the vertices of MediaPipe's face mesh whose mean it is, chosen on its canonical face."""

_SCHEMES = {98: _WFLW, 478: _MEDIAPIPE, 478 - IRISES: _MEDIAPIPE}


def to_68(points: Float[np.ndarray, "*F N 2"], what: str) -> Float[np.ndarray, "*F 68 2"]:
    """Points of any known set as the Multi-PIE 68.

    Raises:
        VrmmError: another number of points; ``what`` names the file.
    """
    count = points.shape[-2]
    if count == COUNT:
        return points
    if count not in _SCHEMES:
        raise VrmmError(
            f"{what} holds {count} landmarks a face; needed are 68 (Multi-PIE), 98 (WFLW) or 478 (MediaPipe) in order"
        )
    return np.stack([points[..., list(members), :].mean(axis=-2) for members in _SCHEMES[count]], axis=-2)
