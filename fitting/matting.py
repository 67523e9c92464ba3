"""The head's mask where the user gives none: GrabCut around the landmarks."""

import numpy as np
from jaxtyping import Float

WORKING_PIXELS = 320
ROUNDS = 4


def estimate_mask(linear: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "H W"]:
    """A rough mask of head and hair in [0, 1] (Rother et al., GrabCut, 2004).

    The hull of the landmarks is surely head, what is far from it surely is not. Hair that looks like the
    background is lost: a mask of the user's own is better.
    """
    import cv2

    height, width = linear.shape[:2]
    scale = min(1.0, WORKING_PIXELS / max(height, width))
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = np.rint(np.clip(linear, 0.0, 1.0) ** (1 / 2.2) * 255).astype(np.uint8)[..., ::-1]
    small = cv2.resize(np.ascontiguousarray(picture), shape, interpolation=cv2.INTER_AREA)
    seeds = _seeds(landmarks * scale, shape)
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
    cv2.fillConvexPoly(seeds, cv2.convexHull(np.rint(points).astype(np.int32)), cv2.GC_FGD)
    return seeds


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    import cv2

    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return (labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())).astype(np.float32)
