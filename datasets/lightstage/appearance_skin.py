"""The skin texture, painted from positions on the neutral head and its landmarks."""

import numpy as np
from jaxtyping import Float

from datasets.lightstage.appearance import Look
from datasets.lightstage.hair import hair_cover


def paint_skin(
    positions: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "68 3"], style: Float[np.ndarray, "4"], look: Look
) -> Float[np.ndarray, "H W 3"]:
    """Linear RGB reflectance of the skin.

    Args:
        positions: where each texel lies on the neutral average head, head frame, metres.
        landmarks: Multi-PIE 68 points of the same head.
        style: coefficients of ``hair.HAIR_NAMES``; the scalp is dark where hair grows.
        look: the person's colours.
    """
    random = np.random.default_rng(look.noise_seed)
    albedo = np.broadcast_to(look.skin, positions.shape).copy()
    front = positions[..., 2] > 0.0
    albedo *= np.exp(_mottle(positions, random))[..., None]
    _redden(albedo, positions, landmarks, look)
    _freckle(albedo, positions, look, random)
    _shade_eyes(albedo, positions, landmarks)
    _stubble(albedo, positions, landmarks, look, front, random)
    lips = lip_mask(positions, landmarks)
    _mix(albedo, look.lip * np.exp(0.10 * random.normal(size=positions.shape[:2]))[..., None], lips)
    brows = brow_mask(positions, landmarks) * look.brow
    hairs = 0.85 + 0.3 * random.uniform(size=positions.shape[:2])
    _mix(albedo, np.minimum(look.hair, 0.6 * look.skin), np.clip(brows * hairs, 0.0, 0.95))
    scalp = np.clip(hair_cover(positions, style) / 0.010 + 0.35, 0.0, 1.0)
    _mix(albedo, look.hair * np.exp(0.2 * random.normal(size=positions.shape[:2]))[..., None], 0.92 * scalp)
    return np.clip(albedo, 0.004, 0.9)


def lip_mask(
    positions: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "68 3"]
) -> Float[np.ndarray, "H W"]:
    """1 on the lips, 0 elsewhere, soft over about a millimetre."""
    outline = np.concatenate([landmarks[48:60], landmarks[48:49]])
    distance = _polygon_distance(positions[..., :2], outline[:, :2])
    near = np.abs(positions[..., 2] - landmarks[48:60, 2].mean()) < 0.03
    return np.clip(0.5 + distance / 0.0016, 0.0, 1.0) * near


def brow_mask(
    positions: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "68 3"]
) -> Float[np.ndarray, "H W"]:
    """Density of the eyebrows: a band along landmarks 17-21 and 22-26, thinner to the temples."""
    density = np.zeros(positions.shape[:2])
    for curve, inner in ((landmarks[17:22], -1), (landmarks[22:27], 0)):
        distance, along = _curve_distance(positions, curve)
        to_inner = along if inner == -1 else 1.0 - along
        width = 0.0022 + 0.0026 * np.clip(to_inner, 0.0, 1.0)
        taper = np.clip(np.minimum(along, 1.0 - along) / 0.12 + 0.35, 0.0, 1.0)
        density = np.maximum(density, np.exp(-((distance / width) ** 2)) * taper)
    return density


def _mix(albedo: np.ndarray, colour: np.ndarray, weight: np.ndarray) -> None:
    albedo += weight[..., None] * (colour - albedo)


def _mottle(positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Low-contrast variation over 5-40 mm plus pores: log reflectance."""
    field = np.zeros(positions.shape[:2])
    for wavelength, strength in ((0.04, 0.030), (0.017, 0.022), (0.007, 0.018)):
        for _ in range(4):
            direction = random.normal(size=3)
            direction *= 2.0 * np.pi / wavelength / np.linalg.norm(direction)
            field += 0.5 * strength * np.sin(positions @ direction + random.uniform(0.0, 2.0 * np.pi))
    return field + 0.02 * random.normal(size=field.shape)


def _redden(albedo: np.ndarray, positions: np.ndarray, landmarks: np.ndarray, look: Look) -> None:
    """More blood near the surface: cheeks, nose, chin and, at the sides, the ears."""
    cheek = 0.5 * (landmarks[[2, 14]] + landmarks[[31, 35]])
    spots = [(cheek[0], 0.022, 1.0), (cheek[1], 0.022, 1.0), (landmarks[30], 0.013, 0.9), (landmarks[8], 0.016, 0.5)]
    red = np.zeros(positions.shape[:2])
    for center, radius, strength in spots:
        red += strength * np.exp(-(((positions - center) ** 2).sum(-1)) / (2.0 * radius**2))
    albedo *= np.exp(look.blush * red[..., None] * np.array([-0.01, -0.24, -0.18]))


def _freckle(albedo: np.ndarray, positions: np.ndarray, look: Look, random: np.random.Generator) -> None:
    if look.freckles <= 0.0:
        return
    spots = random.normal(size=(260, 3)) * np.array([0.035, 0.016, 0.02]) + np.array([0.0, -0.015, 0.085])
    field = np.zeros(positions.shape[:2])
    near = (positions[..., 2] > 0.04) & (np.abs(positions[..., 1] + 0.015) < 0.05)
    texels = positions[near]
    values = np.zeros(len(texels))
    for spot in spots:
        values = np.maximum(values, np.exp(-((texels[:, :2] - spot[:2]) ** 2).sum(-1) / (2.0 * 0.0008**2)))
    field[near] = values
    albedo *= np.exp(-look.freckles * field[..., None] * np.array([0.35, 0.55, 0.65]))


def _shade_eyes(albedo: np.ndarray, positions: np.ndarray, landmarks: np.ndarray) -> None:
    """Darker orbits and the dark line of the lashes along the lid margins."""
    for loop in (landmarks[36:42], landmarks[42:48]):
        center = loop.mean(0)
        orbit = np.exp(-(((positions - center) / np.array([0.019, 0.013, 0.02])) ** 2).sum(-1))
        albedo *= np.exp(-0.22 * orbit[..., None] * np.array([0.8, 1.0, 0.95]))
        upper, _ = _curve_distance(positions, loop[[0, 1, 2, 3]])
        lower, _ = _curve_distance(positions, loop[[3, 4, 5, 0]])
        line = np.maximum(np.exp(-((upper / 0.0012) ** 2)), 0.35 * np.exp(-((lower / 0.0010) ** 2)))
        albedo *= (1.0 - 0.75 * line)[..., None]


def _stubble(
    albedo: np.ndarray,
    positions: np.ndarray,
    landmarks: np.ndarray,
    look: Look,
    front: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Shaved beard: a darker, bluer lower face."""
    if look.stubble <= 0.0:
        return
    jaw_distance, _ = _curve_distance(positions, landmarks[2:15])
    moustache, _ = _curve_distance(positions, landmarks[[48, 50, 51, 52, 54]] + np.array([0.0, 0.005, 0.0]))
    chin = np.linalg.norm(positions - landmarks[8] - np.array([0.0, 0.012, 0.0]), axis=-1)
    beard = np.maximum.reduce(
        [
            np.exp(-((jaw_distance / 0.020) ** 2)),
            np.exp(-((moustache / 0.008) ** 2)),
            np.exp(-((chin / 0.022) ** 2)),
        ]
    )
    grain = np.clip(0.8 + 0.45 * random.normal(size=front.shape), 0.0, 1.6)
    weight = np.clip(0.55 * look.stubble * beard * grain * front, 0.0, 0.85)
    _mix(albedo, 0.5 * look.hair + 0.25 * look.skin * np.array([0.8, 0.95, 1.05]), weight)


def _curve_distance(positions: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (metres) to a polyline and the parameter in [0, 1] of the nearest point."""
    best = np.full(positions.shape[:2], np.inf)
    where = np.zeros(positions.shape[:2])
    for index in range(len(curve) - 1):
        edge = curve[index + 1] - curve[index]
        along = np.clip(((positions - curve[index]) @ edge) / (edge @ edge), 0.0, 1.0)
        distance = np.linalg.norm(positions - curve[index] - along[..., None] * edge, axis=-1)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        where = np.where(nearer, (index + along) / (len(curve) - 1), where)
    return best, where


def _polygon_distance(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Signed distance to a closed polygon in the plane, positive inside."""
    best = np.full(points.shape[:2], np.inf)
    inside = np.zeros(points.shape[:2], bool)
    for start, end in zip(outline[:-1], outline[1:], strict=True):
        edge = end - start
        along = np.clip(((points - start) @ edge) / max(edge @ edge, 1e-12), 0.0, 1.0)
        best = np.minimum(best, np.linalg.norm(points - start - along[..., None] * edge, axis=-1))
        crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
        rise = edge[1] if edge[1] != 0.0 else 1.0
        inside ^= crosses & (points[..., 0] < start[0] + edge[0] * (points[..., 1] - start[1]) / rise)
    return np.where(inside, best, -best)
