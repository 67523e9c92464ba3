"""The skin texture: masks from positions on the average head and its landmarks, then a person's colours."""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float

from datasets.lightstage.appearance import Look
from datasets.lightstage.hair import hair_cover


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkinMap:
    """Where everything is on a skin texture, the same for all subjects of a head model.

    Attributes:
        positions: [H, W, 3] place of each texel on the average head, head frame, metres.
        red: [H, W] more blood near the surface (cheeks, nose, chin).
        lips, brows, beard: [H, W] masks in [0, 1].
        orbit, lashes: [H, W] shading around the eyes and the line of the lashes, in [0, 1].
        freckled: [H, W] where freckles may be.
    """

    positions: Float[np.ndarray, "H W 3"]
    red: Float[np.ndarray, "H W"]
    lips: Float[np.ndarray, "H W"]
    brows: Float[np.ndarray, "H W"]
    beard: Float[np.ndarray, "H W"]
    orbit: Float[np.ndarray, "H W"]
    lashes: Float[np.ndarray, "H W"]
    freckled: Float[np.ndarray, "H W"]


def map_skin(positions: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "68 3"]) -> SkinMap:
    """Find lips, brows and the rest on a texture.

    Args:
        positions: place of each texel on the average head, head frame, metres.
        landmarks: Multi-PIE 68 points of the same head.
    """
    orbit, lashes = _eye_masks(positions, landmarks)
    return SkinMap(
        positions=positions,
        red=_red_mask(positions, landmarks),
        lips=_lip_mask(positions, landmarks),
        brows=_brow_mask(positions, landmarks),
        beard=_beard_mask(positions, landmarks),
        orbit=orbit,
        lashes=lashes,
        freckled=np.exp(-(((positions - landmarks[29]) / np.array([0.045, 0.022, 0.03])) ** 2).sum(-1)),
    )


def paint_skin(skin: SkinMap, style: Float[np.ndarray, "4"], look: Look) -> Float[np.ndarray, "H W 3"]:
    """Linear RGB reflectance of the skin.

    Args:
        skin: the head model's masks.
        style: coefficients of ``hair.HAIR_NAMES``; the scalp is dark where hair grows.
        look: the person's colours.
    """
    random = np.random.default_rng(look.noise_seed)
    size = skin.red.shape
    blood = look.blush * skin.red[..., None] * np.array([-0.01, -0.24, -0.18])
    shade = skin.orbit[..., None] * np.array([-0.16, -0.21, -0.20])
    albedo = look.skin * np.exp(_mottle(skin.positions, random)[..., None] + blood + shade)
    if look.freckles > 0.0:
        spots = look.freckles * skin.freckled * _spots(skin.positions, random)
        albedo *= np.exp(-spots[..., None] * np.array([0.35, 0.55, 0.65]))
    albedo *= (1.0 - 0.75 * skin.lashes)[..., None]
    grain = np.clip(0.8 + 0.45 * random.standard_normal(size), 0.0, 1.6)
    shaved = 0.5 * look.hair + 0.25 * look.skin * np.array([0.8, 0.95, 1.05])
    _mix(albedo, shaved, np.clip(0.55 * look.stubble * skin.beard * grain, 0.0, 0.85))
    _mix(albedo, look.lip * np.exp(0.05 * random.standard_normal(size))[..., None], skin.lips)
    hairs = np.clip(look.brow * skin.brows * random.uniform(0.75, 1.15, size), 0.0, 0.95)
    _mix(albedo, np.minimum(look.hair, 0.55 * look.skin), hairs)
    rooted = hair_cover(skin.positions, style) / 0.014 + 0.35
    scalp = np.clip(rooted + 0.1 * random.standard_normal(size), 0.0, 1.0)
    _mix(albedo, look.hair * np.exp(0.2 * random.standard_normal(size))[..., None], 0.9 * scalp)
    return np.clip(albedo, 0.004, 0.9)


def _lip_mask(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """1 on the lips, 0 elsewhere, soft over about a millimetre."""
    outline = np.concatenate([landmarks[48:60], landmarks[48:49]])
    flat = np.array([1.0, 1.0, 0.0])
    distance, _ = _curve_distance(positions * flat, outline * flat, 0.004)
    signed = np.where(_polygon_inside(positions, outline), distance, -distance)
    near = np.abs(positions[..., 2] - landmarks[48:60, 2].mean()) < 0.03
    return np.clip(0.5 + signed / 0.0016, 0.0, 1.0) * near


def _brow_mask(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Density of the eyebrows: a band along landmarks 17-21 and 22-26, thinner to the temples, made of hairs."""
    density = np.zeros(positions.shape[:2])
    for curve, to_inner in ((landmarks[17:22], 1.0), (landmarks[22:27], -1.0)):
        distance, along = _curve_distance(positions, _smooth(curve), 0.012)
        inner = np.clip(along if to_inner > 0 else 1.0 - along, 0.0, 1.0)
        width = 0.0017 + 0.0026 * np.sqrt(inner) * np.clip((1.0 - inner) / 0.15 + 0.6, 0.0, 1.0)
        taper = np.clip(np.minimum(along, 1.0 - along) / 0.15 + 0.25, 0.0, 1.0)
        hairs = 0.85 + 0.15 * np.sin(9000.0 * positions[..., 0] * to_inner + 5500.0 * positions[..., 1])
        density = np.maximum(density, np.exp(-((distance / width) ** 2)) * taper * hairs)
    return density


def _smooth(curve: np.ndarray, count: int = 24) -> np.ndarray:
    """A Catmull-Rom curve through the points of a polyline."""
    ends = np.concatenate([[2 * curve[0] - curve[1]], curve, [2 * curve[-1] - curve[-2]]])
    place = np.linspace(0.0, len(curve) - 1.0 - 1e-9, count)
    index = place.astype(int)
    t = (place - index)[:, None]
    before, start, end, after = (ends[index + k] for k in range(4))
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def _red_mask(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    cheek = 0.5 * (landmarks[[2, 14]] + landmarks[[31, 35]])
    spots = [(cheek[0], 0.020, 1.0), (cheek[1], 0.020, 1.0), (landmarks[30], 0.012, 0.8), (landmarks[8], 0.016, 0.5)]
    return np.sum(
        [
            strength * np.exp(-(((positions - center) ** 2).sum(-1)) / (2.0 * radius**2))
            for center, radius, strength in spots
        ],
        axis=0,
    )


def _eye_masks(positions: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    orbit, lashes = np.zeros(positions.shape[:2]), np.zeros(positions.shape[:2])
    for loop in (landmarks[36:42], landmarks[42:48]):
        offset = (positions - loop.mean(0)) / np.array([0.019, 0.013, 0.02])
        orbit += np.exp(-(offset**2).sum(-1))
        upper, _ = _curve_distance(positions, _smooth(loop[[0, 1, 2, 3]]), 0.004)
        lower, _ = _curve_distance(positions, _smooth(loop[[3, 4, 5, 0]]), 0.004)
        line = np.maximum(np.exp(-((upper / 0.0011) ** 2)), 0.35 * np.exp(-((lower / 0.0010) ** 2)))
        lashes = np.maximum(lashes, line)
    return orbit, lashes


def _beard_mask(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    jaw, _ = _curve_distance(positions, landmarks[2:15], 0.05)
    moustache, _ = _curve_distance(positions, landmarks[[48, 50, 51, 52, 54]] + np.array([0.0, 0.005, 0.0]), 0.025)
    chin = np.linalg.norm(positions - landmarks[8] - np.array([0.0, 0.012, 0.0]), axis=-1)
    regions = ((jaw, 0.020), (moustache, 0.008), (chin, 0.022))
    beard = np.maximum.reduce([np.exp(-((distance / width) ** 2)) for distance, width in regions])
    return beard * np.clip((positions[..., 2] - 0.005) / 0.025, 0.0, 1.0)


def _mix(albedo: np.ndarray, colour: np.ndarray, weight: np.ndarray) -> None:
    albedo += weight[..., None] * (colour - albedo)


def _waves(positions: np.ndarray, wavelength: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Sum of sine waves in random directions, about unit variance; the pattern is fixed to the head."""
    directions = random.normal(size=(count, 3))
    directions *= 2.0 * np.pi / wavelength / np.linalg.norm(directions, axis=1, keepdims=True)
    phases = positions.astype(np.float32) @ directions.astype(np.float32).T
    phases += random.uniform(0.0, 2.0 * np.pi, count).astype(np.float32)
    return np.sin(phases).sum(-1) * np.sqrt(2.0 / count)


def _mottle(positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Low-contrast variation over 7-40 mm plus pores: log reflectance."""
    layers = ((0.04, 0.024), (0.017, 0.018), (0.007, 0.014))
    field = sum(strength * _waves(positions, wavelength, 4, random) for wavelength, strength in layers)
    return field + 0.02 * random.standard_normal(positions.shape[:2])


def _spots(positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Peaks of a random field: irregular dots of about 1.5 mm."""
    return np.clip((_waves(positions, 0.0042, 7, random) - 1.35) / 0.5, 0.0, 1.0)


def _curve_distance(positions: np.ndarray, curve: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance (metres) to a polyline and the parameter in [0, 1] of the nearest point; infinite beyond ``reach``."""
    low, high = curve.min(0) - reach, curve.max(0) + reach
    near = ((positions > low) & (positions < high)).all(-1)
    points = positions[near].astype(np.float32)
    best = np.full(len(points), np.inf, np.float32)
    where = np.zeros(len(points), np.float32)
    for index, (start, end) in enumerate(itertools.pairwise(curve.astype(np.float32))):
        edge = end - start
        along = np.clip((points - start) @ edge / (edge @ edge), 0.0, 1.0)
        gap = points - start - along[:, None] * edge
        distance = np.einsum("nc,nc->n", gap, gap)
        nearer = distance < best
        best[nearer] = distance[nearer]
        where[nearer] = (index + along[nearer]) / (len(curve) - 1)
    distances, parameters = np.full(positions.shape[:2], np.inf), np.zeros(positions.shape[:2])
    distances[near], parameters[near] = np.sqrt(best), where
    return distances, parameters


def _polygon_inside(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Whether points of the plane lie inside a closed polygon (even-odd rule)."""
    inside = np.zeros(points.shape[:2], bool)
    for start, end in itertools.pairwise(outline):
        crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
        rise = end[1] - start[1] if end[1] != start[1] else 1.0
        inside ^= crosses & (points[..., 0] < start[0] + (end[0] - start[0]) * (points[..., 1] - start[1]) / rise)
    return inside
