"""Eyeballs, ears and hair of the procedural head. Millimetres on the average head."""

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage import procedural_surface as surface
from datasets.lightstage.procedural_mouth import Soft, grid_faces

IRIS_ANGLE = 0.50
"""Half-angle (radians) of the iris: 5.9 mm on a 12 mm eyeball."""
_EYE_ROWS, _EYE_COLUMNS = 24, 29
_EYE_UV_POWER = 0.55
"""Below 1: the iris gets more of the eyeball's texture than its share of the sphere."""
_EAR_ROWS, _EAR_COLUMNS = 22, 41
_EAR_OUTLINE = (
    np.radians([0.0, 35.0, 70.0, 100.0, 135.0, 175.0, 215.0, 245.0, 265.0, 290.0, 320.0, 360.0]),
    np.array([12.0, 19.0, 29.0, 32.0, 27.0, 21.0, 21.5, 27.0, 31.0, 27.0, 15.0, 12.0]),
)
"""Angle (0 forwards, a quarter turn up) and radius (mm) of the ear's rim."""
_HAIR_ROWS, _HAIR_COLUMNS = 44, 113


def build_eyeball() -> Soft:
    """A sphere around the origin with the cornea's bulge towards z; its pole is the middle of the pupil."""
    polar = np.pi * np.linspace(0.0, 1.0, _EYE_ROWS) ** 1.35
    polar, turn = np.meshgrid(polar, np.linspace(0.0, 2.0 * np.pi, _EYE_COLUMNS), indexing="ij")
    t = np.clip((polar - 0.12) / 0.5, 0.0, 1.0)
    radius = surface.EYE_RADIUS + 0.9 * (1.0 - t * t * (3.0 - 2.0 * t))
    directions = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], -1)
    points = (radius[..., None] * directions).reshape(-1, 3)
    uv = 0.5 + 0.5 * ((polar / np.pi) ** _EYE_UV_POWER)[..., None] * np.stack([np.cos(turn), np.sin(turn)], -1)
    faces = grid_faces(_EYE_ROWS, _EYE_COLUMNS)
    return Soft(points=points, faces=faces, uv=uv.reshape(-1, 2), jaw=np.zeros(len(points)))


def build_caruncle(side: float) -> Soft:
    """The pink flesh in the inner corner of an eye, relative to the centre of the eyeball."""
    rows, columns = 9, 13
    polar, turn = np.meshgrid(np.linspace(0.0, np.pi, rows), np.linspace(0.0, 2.0 * np.pi, columns), indexing="ij")
    ball = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], -1).reshape(-1, 3)
    points = (ball * [3.0, 3.2, 2.4] + [-11.3, 0.0, 7.6]) * [side, 1.0, 1.0]
    faces = grid_faces(rows, columns)
    uv = np.stack([turn / (2.0 * np.pi), polar / np.pi], -1).reshape(-1, 2)
    return Soft(points=points, faces=faces[:, ::-1] if side < 0 else faces, uv=uv, jaw=np.zeros(len(points)))


def eye_texel_angles(size: int) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Angle from and around the gaze axis of each texel of the eyeball's texture, radians."""
    x = (np.arange(size) + 0.5) / size * 2.0 - 1.0
    across, up = np.meshgrid(x, -x)
    return np.pi * np.hypot(across, up) ** (1.0 / _EYE_UV_POWER), np.arctan2(up, across)


def build_ear(side: float) -> Soft:
    """One ear: a bowl with helix, antihelix, tragus and lobe, its back buried in the head.

    Args:
        side: +1 for the subject's left.
    """
    ring = np.concatenate([np.linspace(0.0, 1.0, _EAR_ROWS - 6), [1.06, 1.04, 0.98, 0.9, 0.8, 0.66]])
    level = np.arange(_EAR_ROWS)
    turn = np.linspace(0.0, 2.0 * np.pi, _EAR_COLUMNS)
    ring, turn = np.meshgrid(ring, turn, indexing="ij")
    behind = np.clip((level - (_EAR_ROWS - 7)) / 6.0, 0.0, 1.0)[:, None]
    back, up = _ear_outline(turn)
    relief = _ear_relief(np.minimum(ring, 1.0), turn)
    slope = np.where(back > 0.0, 0.34, 0.22) * ring * back
    height = relief + slope - 17.0 * behind**1.2
    across = np.array([0.92, 0.0, 0.0])
    tilt = 0.16
    backwards = np.array([0.10, np.sin(-tilt), -np.cos(tilt)])
    upwards = np.array([0.06, np.cos(tilt), np.sin(-tilt)])
    points = (
        np.array([77.5, -4.0, -9.0])
        + (ring * back)[..., None] * backwards
        + (ring * up)[..., None] * upwards
        + height[..., None] * across
    )
    faces = grid_faces(_EAR_ROWS, _EAR_COLUMNS)
    uv = 0.5 + 0.46 * (level / (_EAR_ROWS - 1.0))[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], -1)
    points = points.reshape(-1, 3) * np.array([side, 1.0, 1.0])
    return Soft(
        points=points, faces=faces[:, ::-1] if side > 0 else faces, uv=uv.reshape(-1, 2), jaw=np.zeros(len(points))
    )


def _ear_outline(turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backward and upward extent (mm) of the rim over the angle: 0 forwards, a quarter turn up, a half backwards."""
    shifted = [np.interp(np.mod(turn + shift, 2.0 * np.pi), *_EAR_OUTLINE) for shift in (-0.25, 0.0, 0.0, 0.25)]
    smooth = np.mean(shifted, axis=0)
    return -smooth * np.cos(turn), smooth * np.sin(turn)


def _ear_relief(ring: np.ndarray, turn: np.ndarray) -> np.ndarray:
    degrees = np.degrees(turn)
    rim_part = np.clip((degrees - 20.0) / 40.0, 0.0, 1.0) * np.clip((255.0 - degrees) / 40.0, 0.0, 1.0)
    ridge_part = np.clip((degrees - 60.0) / 40.0, 0.0, 1.0) * np.clip((250.0 - degrees) / 30.0, 0.0, 1.0)
    relief = 3.0 * rim_part * np.exp(-(((ring - 0.95) / 0.09) ** 2))
    relief -= 2.2 * rim_part * np.exp(-(((ring - 0.78) / 0.10) ** 2))
    relief += 2.2 * ridge_part * np.exp(-(((ring - 0.58) / 0.10) ** 2))
    relief -= 5.5 * np.exp(-((ring / 0.46) ** 4))
    near_front = np.exp(-((np.minimum(degrees, 360.0 - degrees) / 26.0) ** 2))
    return relief + 2.5 * near_front * np.exp(-(((ring - 0.62) / 0.2) ** 2)) - 3.0 * near_front * ring**4


def build_scalp() -> Soft:
    """The skin under all the hair there may be: a disc around the crown, without seam distortion at the top."""
    turn = np.linspace(-np.pi, np.pi, _HAIR_COLUMNS)
    lowest = np.interp(
        np.degrees(np.abs(turn)),
        [0.0, 25.0, 45.0, 62.0, 74.0, 84.0, 92.0, 104.0, 116.0, 135.0, 180.0],
        [28.0, 26.0, 14.0, -2.0, -14.0, -2.0, 9.0, 2.0, -32.0, -42.0, -42.0],
    )
    share = np.linspace(0.0, 1.0, _HAIR_ROWS)[:, None]
    elevation = np.radians(90.0 - share * (90.0 - lowest[None]))
    directions = np.stack([np.cos(elevation) * np.sin(turn), np.sin(elevation), np.cos(elevation) * np.cos(turn)], -1)
    origin = np.array([0.0, 25.0, -10.0])
    points = surface.trace(np.broadcast_to(origin, directions.shape).reshape(-1, 3), directions.reshape(-1, 3))
    uv = 0.5 + 0.48 * share[..., None] * np.stack([np.sin(turn), np.cos(turn)], -1)
    faces = grid_faces(_HAIR_ROWS, _HAIR_COLUMNS)
    return Soft(points=points, faces=faces, uv=uv.reshape(-1, 2), jaw=np.zeros(len(points)))


def weld_columns(rows: int, columns: int) -> Int[np.ndarray, "V"]:
    """For a grid whose last column repeats the first: the vertex each vertex stands for."""
    index = np.arange(rows * columns).reshape(rows, columns)
    index[:, -1] = index[:, 0]
    return index.ravel()


def scalp_weld() -> Int[np.ndarray, "V"]:
    """The vertex each scalp vertex stands for (seam and crown repeat)."""
    weld = weld_columns(_HAIR_ROWS, _HAIR_COLUMNS)
    weld[:_HAIR_COLUMNS] = 0
    return weld
