"""Teeth, tongue and the cavity of the procedural head. Millimetres on the average head, mouth closed."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage.procedural_sheet import Sheet
from datasets.lightstage.procedural_surface import MOUTH_HEIGHT

_ALONG, _AROUND = 97, 12
_ARCH = (25.0, 33.0)
"""Half-width and depth (mm) of the upper dental arch."""
_ARCH_FRONT = 88.5
_TOOTH_EDGES = np.array([-1.42, -1.22, -1.0, -0.8, -0.62, -0.42, -0.2, 0.0, 0.2, 0.42, 0.62, 0.8, 1.0, 1.22, 1.42])
"""Angles (radians) along the arch where teeth meet, seen from the middle of the arch's back."""
_BAG_RINGS = 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Soft:
    """A mesh with the share of the jaw's motion of each vertex.

    Attributes:
        points: [V, 3] millimetres, average head at rest.
        faces: [F, 3] counter-clockwise from outside.
        uv: [V, 2].
        jaw: [V] share of the jaw's motion.
    """

    points: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "V 2"]
    jaw: Float[np.ndarray, "V"]


def grid_faces(rows: int, columns: int, closed: bool = False) -> Int[np.ndarray, "F 3"]:
    """Triangles of a grid of vertices; ``closed`` joins the last row to the first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:1]])
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def tooth_profile(angle: np.ndarray) -> np.ndarray:
    """0 where two teeth meet, 1 in the middle of a tooth, over the angle along the arch."""
    cell = np.clip(np.searchsorted(_TOOTH_EDGES, angle) - 1, 0, len(_TOOTH_EDGES) - 2)
    along = (angle - _TOOTH_EDGES[cell]) / (_TOOTH_EDGES[cell + 1] - _TOOTH_EDGES[cell])
    return np.clip(np.sin(np.pi * np.clip(along, 0.0, 1.0)), 0.0, 1.0) ** 0.35


def build_teeth() -> Soft:
    """Both rows, gums included; the upper one overlaps the lower one slightly, as in a normal bite."""
    upper = _row(edge=MOUTH_HEIGHT - 4.2, root=MOUTH_HEIGHT + 15.0, scale=1.0)
    lower = _row(edge=MOUTH_HEIGHT - 3.0, root=MOUTH_HEIGHT - 19.0, scale=0.9)
    count = len(upper)
    faces, uv = _row_topology()
    shift = np.array([0.0, 0.5])
    return Soft(
        points=np.concatenate([upper, lower]),
        faces=np.concatenate([faces[:, ::-1], faces + count]),
        uv=np.concatenate([uv * [1.0, 0.5] + shift, uv * [1.0, 0.5]]),
        jaw=np.repeat([0.0, 1.0], count),
    )


def _row(edge: float, root: float, scale: float) -> np.ndarray:
    """A dental arch: rounded sections, thin at the biting edge, swept along a half ellipse."""
    angle = np.linspace(-1.42, 1.42, _ALONG)
    turn = np.linspace(0.0, 2.0 * np.pi, _AROUND, endpoint=False)
    depth = 0.5 * (1.0 - np.cos(turn))  # 0 at the biting edge, 1 at the root
    thickness = (1.0 + 2.6 * np.sqrt(depth)) * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.4
    tooth = tooth_profile(angle)
    bulge = np.where(depth < 0.62, 0.7, 0.15)[:, None] * (tooth[None] - 1.0)
    outward = thickness[:, None] + np.where(np.sin(turn) > 0, 1.0, 0.0)[:, None] * bulge
    height = edge + (root - edge) * (depth[:, None] + 0.05 * (1.0 - tooth)[None] * (1.0 - depth)[:, None])
    width, length = _ARCH[0] * scale, _ARCH[1] * scale
    base = np.stack([width * np.sin(angle), np.zeros_like(angle), length * np.cos(angle)], 1)
    normal = np.stack([np.sin(angle) / width, np.zeros_like(angle), np.cos(angle) / length], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    points = base[None] + outward[..., None] * normal[None]
    points[..., 1] = height
    points[..., 2] += _ARCH_FRONT - _ARCH[1] - 3.2
    return points.reshape(-1, 3)


def _row_topology() -> tuple[np.ndarray, np.ndarray]:
    turn, along = np.meshgrid(np.arange(_AROUND) / _AROUND, np.linspace(0.0, 1.0, _ALONG), indexing="ij")
    depth = 0.5 * (1.0 - np.cos(2.0 * np.pi * turn))
    uv = np.stack([along, 0.02 + 0.96 * depth], -1).reshape(-1, 2)
    return grid_faces(_AROUND, _ALONG, closed=True), uv


def paint_teeth(tooth: Float[np.ndarray, "3"], gum: Float[np.ndarray, "3"]) -> Float[np.ndarray, "H W 3"]:
    """Enamel, darker between the teeth and towards the back, and gums around the roots; linear RGB."""
    angle = np.linspace(-1.42, 1.42, 256)
    profile = tooth_profile(angle)[None]
    v = 1.0 - (np.arange(128) + 0.5) / 128
    depth = np.mod(2.0 * v, 1.0)[:, None]
    line = 0.42 + 0.10 * profile
    is_gum = np.clip((depth - line) / 0.03 + 0.5, 0.0, 1.0)[..., None]
    shade = (0.45 + 0.55 * profile) * (1.0 - 0.45 * np.abs(angle / 1.42)[None] ** 2) * np.ones_like(depth)
    enamel = tooth * shade[..., None]
    return enamel + is_gum * (gum * (1.0 - 0.4 * np.abs(angle / 1.42)[None, :, None] ** 2) - enamel)


def build_tongue() -> Soft:
    """A flattened ellipsoid with a furrow, resting behind the lower teeth."""
    rows, columns = 20, 24
    polar, turn = np.meshgrid(np.linspace(0.0, np.pi, rows), np.linspace(0.0, 2.0 * np.pi, columns), indexing="ij")
    x, y, z = np.sin(polar) * np.sin(turn), np.sin(polar) * np.cos(turn), np.cos(polar)
    furrow = 1.8 * np.exp(-((x / 0.22) ** 2)) * np.clip(y, 0.0, 1.0)
    points = np.stack([17.0 * x, 6.5 * y - furrow - 2.0 * z**2, 23.0 * z], -1)
    points += np.array([0.0, MOUTH_HEIGHT - 9.0, 55.0])
    uv = np.stack([turn / (2.0 * np.pi), polar / np.pi], -1).reshape(-1, 2)
    points = points.reshape(-1, 3)
    return Soft(points=points, faces=grid_faces(rows, columns)[:, ::-1], uv=uv, jaw=np.full(len(points), 0.93))


def build_cavity(sheet: Sheet, jaw: Float[np.ndarray, "V"]) -> tuple[Soft, Int[np.ndarray, "L"]]:
    """The bag behind the lips and the skin vertices its first ring lies on."""
    upper, lower = sheet.mouth.upper_rim[-1], sheet.mouth.lower_rim[-1]
    loop = np.concatenate([upper, lower[::-1][1:-1]])
    front = sheet.points[loop]
    side = np.concatenate([np.ones(len(upper)), -np.ones(len(lower) - 2)])
    across = np.linspace(-1.0, 1.0, len(upper))
    across = np.concatenate([across, across[::-1][1:-1]])
    lens = np.sqrt(np.clip(1.0 - across**2, 0.0, 1.0))
    rings, weights = [front], [jaw[loop]]
    for ring in range(1, _BAG_RINGS):
        share = ring / (_BAG_RINGS - 1.0)
        swell = np.sin(np.pi * min(1.0, 0.25 + 0.75 * share)) ** 0.5 if share < 1.0 else 0.05
        width, height = 32.0 * np.sin(0.5 * np.pi * across), 22.0 * side * lens
        depth = 76.0 - 52.0 * share - 10.0 * across**2
        target = np.stack([swell * width, MOUTH_HEIGHT + swell * height, depth], 1)
        blend = min(1.0, 2.0 * share)
        rings.append(front + blend * (target - front))
        weights.append((1.0 - share) * jaw[loop] + share * (0.5 - 0.5 * side * lens))
    count = len(loop)
    index = np.arange(_BAG_RINGS * count).reshape(_BAG_RINGS, count)
    index = np.concatenate([index, index[:, :1]], 1)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    turn = np.arange(count) / count * 2.0 * np.pi
    radius = 0.45 * (1.0 - np.arange(_BAG_RINGS) / _BAG_RINGS)
    uv = 0.5 + radius[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], -1)[None]
    soft = Soft(points=np.concatenate(rings), faces=faces, uv=uv.reshape(-1, 2), jaw=np.concatenate(weights))
    return soft, loop
