"""The head's mask where the user gives none: GrabCut around the landmarks and where the prior expects a head."""

import numpy as np
from jaxtyping import Float

WORKING_PIXELS = 320
ROUNDS = 4
SURE = 0.95
"""Share of the expected heads that cover a pixel which is surely head."""
HAIR = 0.22
"""How far hair may stand out from the expected heads, in sides of the face."""
BELOW_CHIN = 0.04
"""The same below the chin, where the prior's heads end and necks go on in the same colour."""


def estimate_mask(
    linear: Float[np.ndarray, "H W 3"],
    landmarks: Float[np.ndarray, "68 2"],
    expected: Float[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "H W"]:
    """A rough mask of head and hair in [0, 1] (Rother et al., GrabCut, 2004).

    The hull of the landmarks is surely head, what is far from it surely is not. Hair that looks like the
    background is lost: a mask of the user's own is better.

    Args:
        linear: the picture.
        landmarks: pixels.
        expected: share of a prior's heads that cover each pixel (``fitting.foreground``), if it is known: what they
            all cover is surely head, and what is far from them surely is not.
    """
    import cv2

    height, width = linear.shape[:2]
    scale = min(1.0, WORKING_PIXELS / max(height, width))
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = np.rint(np.clip(linear, 0.0, 1.0) ** (1 / 2.2) * 255).astype(np.uint8)[..., ::-1]
    small = cv2.resize(np.ascontiguousarray(picture), shape, interpolation=cv2.INTER_AREA)
    if expected is None:
        seeds = _seeds(landmarks * scale, shape)
    else:
        seeds = _expected_seeds(landmarks * scale, cv2.resize(expected, shape, interpolation=cv2.INTER_AREA))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, seeds, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    head = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    smooth = cv2.GaussianBlur(_largest_piece(head), (3, 3), 0)
    return np.clip(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), 0.0, 1.0)


def _seeds(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """GrabCut's labels: the face is head, a head-sized ellipse probably is, the rest is background."""
    import cv2

    width, height = shape
    face = float(np.ptp(points, axis=0).max())
    center = (points.min(axis=0) + points.max(axis=0)) / 2 - (0.0, 0.2 * face)
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.hypot((x - center[0]) / (0.95 * face), (y - center[1]) / (1.1 * face))
    seeds = np.full((height, width), cv2.GC_BGD, np.uint8)
    seeds[distance < 1.0] = cv2.GC_PR_BGD
    seeds[distance < 0.75] = cv2.GC_PR_FGD
    cv2.fillConvexPoly(seeds, _hull(points), cv2.GC_FGD)
    return seeds


def _expected_seeds(points: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """GrabCut's labels from the share of heads that cover each pixel."""
    import cv2

    face = float(np.ptp(points, axis=0).max())
    outside = cv2.distanceTransform((expected < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    chin = points[:, 1].max()
    below = np.arange(len(expected))[:, None] + 0.5 > chin
    reach = np.where(below, BELOW_CHIN, HAIR) * face
    seeds = np.full(expected.shape, cv2.GC_BGD, np.uint8)
    seeds[(outside <= reach) | (expected > 0.02)] = cv2.GC_PR_BGD
    seeds[expected >= 0.5] = cv2.GC_PR_FGD
    seeds[expected >= SURE] = cv2.GC_FGD
    hull = np.zeros(expected.shape, np.uint8)
    cv2.fillConvexPoly(hull, _hull(points), 1)
    seeds[(hull > 0) & (expected >= 0.5)] = cv2.GC_FGD
    return seeds


def _hull(points: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.convexHull(np.rint(points).astype(np.int32))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    import cv2

    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return (labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())).astype(np.float32)
