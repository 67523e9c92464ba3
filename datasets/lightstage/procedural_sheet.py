"""The skin as one sheet of rows and columns, cut open along the lids and the lips.

Columns go around the vertical axis from the back of the head over the subject's right, the face and the left to the
back again; rows go from the crown down the face to the end of the neck. A slit is a row whose vertices exist twice
between two columns: the original belongs to the rows above, its twin to the rows below. From each edge of a slit
a few more rows, the rim, lead inwards. In texture space a slit is a lens that holds the rims, so that the texture
coordinates do not overlap anywhere.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, Int

from datasets.lightstage import procedural_surface as surface

HALF_COLUMNS = 75
_AXIS_DEPTH = -5.0
_TOP = 25.0
_FOREHEAD = np.radians(17.0)
_ROWS = {"crown": 16, "eye": 25, "mouth": 45, "chin": 22, "throat": 12, "end": 3}
EYE_ROW = _ROWS["crown"] + _ROWS["eye"]
MOUTH_ROW = EYE_ROW + _ROWS["mouth"]
EYE_CORNERS = (17.5, 45.0)
"""|x| of the inner and the outer corner of the eye on the closed surface, millimetres."""
LIP_RIM = ((1.6, 0.25), (3.4, 1.1), (5.4, 3.2), (6.6, 6.5))
"""Rows of the inner lip: how far back and how far into the lip (millimetres) from the line where the lips meet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slit:
    """One cut. All index arrays run along the cut, from the subject's right to the left.

    Attributes:
        upper, lower: [L] vertex indices of the two edges; first and last are the shared corners.
        upper_rim, lower_rim: [R, L] rows inwards from each edge; their corners are the shared corners too.
    """

    upper: Int[np.ndarray, "L"]
    lower: Int[np.ndarray, "L"]
    upper_rim: Int[np.ndarray, "R L"]
    lower_rim: Int[np.ndarray, "R L"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """The skin of the average head with closed lids and lips.

    Attributes:
        points: [V, 3] millimetres, head frame.
        faces: [F, 3] counter-clockwise from outside.
        uv: [V, 2].
        below_mouth, below_eyes: [V] +1 below the row of the slit, else -1 (twins and rims follow their edge).
        parent: [V] the vertex itself, or for a rim the vertex of the slit's edge it hangs on.
        twin: [V] for the lower copies of a slit's vertices the upper one, else -1.
        mouth, eye_right, eye_left: the cuts.
    """

    points: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "V 2"]
    below_mouth: Float[np.ndarray, "V"]
    below_eyes: Float[np.ndarray, "V"]
    parent: Int[np.ndarray, "V"]
    twin: Int[np.ndarray, "V"]
    mouth: Slit
    eye_right: Slit
    eye_left: Slit


def build_sheet() -> Sheet:
    """Trace the average head and cut it open."""
    grid = _mirror(_trace_half())
    builder = _Builder(grid)
    mouth = builder.cut(MOUTH_ROW, *_span(grid[MOUTH_ROW], -surface.MOUTH_HALF_WIDTH, surface.MOUTH_HALF_WIDTH), 4)
    inner, outer = EYE_CORNERS
    right = builder.cut(EYE_ROW, *_span(grid[EYE_ROW], -outer, -inner), 1)
    left = builder.cut(EYE_ROW, *_span(grid[EYE_ROW], inner, outer), 1)
    _place_lip_rims(builder, mouth)
    _place_lid_rims(builder, right, left)
    return builder.sheet(mouth, right, left)


def _trace_half() -> np.ndarray:
    """Points of the columns from the face to the back on the subject's left, [rows, HALF_COLUMNS + 1, 3]."""
    azimuth = _azimuths()
    heights, elevations = _rays()
    horizontal = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], 1)
    directions = np.cos(elevations)[:, None, None] * horizontal + np.sin(elevations)[:, None, None] * np.array(
        [0.0, 1.0, 0.0]
    )
    origins = np.zeros_like(directions)
    origins[..., 1] = heights[:, None]
    origins[..., 2] = _AXIS_DEPTH
    dense = surface.trace(origins.reshape(-1, 3), directions.reshape(-1, 3)).reshape(directions.shape)
    dense[:, [0, -1], 0] = 0.0
    stations = [
        0,
        int(np.argmin(np.abs(elevations - _FOREHEAD))),
        int(np.argmin(np.abs(heights - surface.EYE_CENTER[1]) + np.abs(elevations))),
        int(np.argmin(np.abs(heights - surface.MOUTH_HEIGHT) + np.abs(elevations))),
        int(np.argmin(np.abs(elevations + np.radians(32.0)))),
        None,
        len(heights) - 1,
    ]
    return np.stack([_resample(dense[:, column], stations) for column in range(len(azimuth))], 1)


def _azimuths() -> np.ndarray:
    """Angles from the face (0) to the back (pi): dense over the face."""
    angle = np.linspace(0.0, 180.0, 2000)
    spacing = np.interp(angle, [0.0, 36.0, 50.0, 90.0, 110.0, 180.0], [1.05, 1.05, 1.7, 3.0, 5.0, 5.6])
    count = np.concatenate([[0.0], np.cumsum(np.diff(angle) / spacing[1:])])
    return np.radians(np.interp(np.linspace(0.0, count[-1], HALF_COLUMNS + 1), count, angle))


def _rays() -> tuple[np.ndarray, np.ndarray]:
    """Heights (mm) of the rays' origins on the axis and elevations (radians), from the crown to the neck's end."""
    dome = np.radians(np.linspace(90.0, 0.0, 46))
    face = np.concatenate([np.arange(_TOP - 0.75, -30.0, -0.75), np.arange(-30.0, surface.MOUTH_HEIGHT, -0.3)])
    face = np.unique(np.append(face, [surface.EYE_CENTER[1], surface.MOUTH_HEIGHT]))[::-1]
    fan = np.radians(np.linspace(0.0, -90.0, 100)[1:])
    heights = np.concatenate([np.full(len(dome), _TOP), face, np.full(len(fan), surface.MOUTH_HEIGHT)])
    return heights, np.concatenate([dome, np.zeros(len(face)), fan])


def _resample(line: np.ndarray, stations: list[int | None]) -> np.ndarray:
    """One column: rows between the stations by arc length, finer towards the slits."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    neck = np.where(line[:, 1] < surface.NECK_BOTTOM + 3.0)[0][0]
    marks = [length[neck if station is None else station] for station in stations]
    finer = ((0.0, 0.0), (0.0, 0.45), (0.45, 0.55), (0.6, 0.0), (0.0, 0.0), (0.0, 0.0))
    places = [marks[:1]]
    for start, end, count, (near_start, near_end) in zip(marks[:-1], marks[1:], _ROWS.values(), finer, strict=True):
        step = np.linspace(0.0, 1.0, count + 1)[1:]
        places.append(start + (end - start) * _ease(step, near_start, near_end))
    wanted = np.concatenate(places)
    return np.stack([np.interp(wanted, length, line[:, axis]) for axis in range(3)], 1)


def _ease(step: np.ndarray, start: float, end: float) -> np.ndarray:
    """A monotone map of [0, 1] with slopes ``1 - start`` and ``1 - end`` at its ends (cubic Hermite)."""
    first, last = 1.0 - start, 1.0 - end
    return (first + last - 2.0) * step**3 + (3.0 - 2.0 * first - last) * step**2 + first * step


def _mirror(half: np.ndarray) -> np.ndarray:
    return np.concatenate([half[:, :0:-1] * np.array([-1.0, 1.0, 1.0]), half], 1)


def _span(row: np.ndarray, start: float, end: float) -> tuple[int, int]:
    """Columns of a row on the face whose x is nearest to the two ends."""
    x = np.where(row[:, 2] > 0.0, row[:, 0], np.inf)
    return int(np.argmin(np.abs(x - start))), int(np.argmin(np.abs(x - end)))


class _Builder:
    """Collects vertices while slits are cut into the grid."""

    def __init__(self, grid: np.ndarray) -> None:
        rows, columns = grid.shape[:2]
        self.index = np.arange(rows * columns).reshape(rows, columns)
        self.points = grid.reshape(-1, 3)
        v, u = np.meshgrid(1.0 - np.arange(rows) / (rows - 1), np.arange(columns) / (columns - 1), indexing="ij")
        self.uv = np.stack([u, v], -1).reshape(-1, 2)
        self.parent = np.arange(rows * columns)
        self.twin = np.full(rows * columns, -1)
        row = np.arange(rows).repeat(columns)
        self.below_mouth = np.where(row > MOUTH_ROW, 1.0, -1.0)
        self.below_eyes = np.where(row > EYE_ROW, 1.0, -1.0)
        self.lower = self.index.copy()
        self.faces: list[np.ndarray] = []

    def cut(self, row: int, first: int, last: int, rim_rows: int) -> Slit:
        """Cut ``row`` between two columns and hang ``rim_rows`` rows on both edges."""
        upper = self.index[row, first : last + 1]
        twins = self._copy(upper[1:-1])
        self.parent[twins], self.twin[twins] = twins, upper[1:-1]
        (self.below_mouth if row == MOUTH_ROW else self.below_eyes)[twins] = 1.0
        lower = np.concatenate([upper[:1], twins, upper[-1:]])
        self.lower[row, first + 1 : last] = twins
        rims = [
            np.array([np.concatenate([edge[:1], self._copy(edge[1:-1]), edge[-1:]]) for _ in range(rim_rows)])
            for edge in (upper, lower)
        ]
        self._strip(upper, rims[0], flip=False)
        self._strip(lower, rims[1], flip=True)
        self._open_texture(row, upper, lower, rims)
        return Slit(upper=upper, lower=lower, upper_rim=rims[0], lower_rim=rims[1])

    def _copy(self, source: np.ndarray) -> np.ndarray:
        """Append copies of vertices; they hang on their source."""
        start = len(self.points)
        self.parent = np.concatenate([self.parent, source])
        self.twin = np.concatenate([self.twin, np.full(len(source), -1)])
        for name in ("points", "uv", "below_mouth", "below_eyes"):
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, values[source]]))
        return np.arange(start, len(self.points))

    def _strip(self, edge: np.ndarray, rim: np.ndarray, flip: bool) -> None:
        lines = [edge, *rim]
        for outer, inner in itertools.pairwise(lines):
            quads = np.stack([outer[:-1], inner[:-1], inner[1:], outer[1:]], 1)
            triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
            self.faces.append(triangles[:, ::-1] if flip else triangles)

    def _open_texture(self, row: int, upper: np.ndarray, lower: np.ndarray, rims: list[np.ndarray]) -> None:
        """Move the slit's edges (and the rows beside it, ever less) apart in v to make room for the rims."""
        uv, rows = self.uv, self.index.shape[0]
        along = np.linspace(-1.0, 1.0, len(upper))
        lens = np.zeros(self.index.shape[1])
        columns = upper - self.index[row, 0]
        depth = (len(rims[0]) + 0.5) / (rows - 1)
        lens[columns] = depth * np.sqrt(1.0 - along**2)
        for offset in range(8):
            fade = 1.0 - offset / 8.0
            uv[self.index[row - offset], 1] += lens * fade
            if offset:
                uv[self.index[row + offset], 1] -= lens * fade
        uv[lower[1:-1], 1] -= lens[columns][1:-1]
        for edge, rim in ((upper, rims[0]), (lower, rims[1])):
            middle = uv[self.index[row, 0], 1]
            for level, line in enumerate(rim):
                share = (level + 1) / (len(rim) + 0.5)
                uv[line[1:-1]] = uv[edge[1:-1]]
                uv[line[1:-1], 1] += share * (middle - uv[edge[1:-1], 1])

    def sheet(self, mouth: Slit, right: Slit, left: Slit) -> Sheet:
        """All vertices and faces in one."""
        top, bottom = self.lower[:-1], self.index[1:]
        quads = np.stack([top[:, :-1], bottom[:, :-1], bottom[:, 1:], top[:, 1:]], -1).reshape(-1, 4)
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *self.faces])
        distinct = (triangles[:, 0] != triangles[:, 1]) & (triangles[:, 1] != triangles[:, 2])
        distinct &= triangles[:, 2] != triangles[:, 0]
        return Sheet(
            points=self.points,
            faces=triangles[distinct],
            uv=np.clip(self.uv, 0.0, 1.0),
            below_mouth=self.below_mouth,
            below_eyes=self.below_eyes,
            parent=self.parent,
            twin=self.twin,
            mouth=mouth,
            eye_right=right,
            eye_left=left,
        )


def _place_lip_rims(builder: _Builder, mouth: Slit) -> None:
    """Inner lips: back and into the lip, ending at nothing in the corners of the mouth."""
    points = builder.points
    along = np.linspace(-1.0, 1.0, len(mouth.upper))
    lens = np.sqrt(1.0 - along**2)[1:-1, None]
    for edge, rim, up in ((mouth.upper, mouth.upper_rim, 1.0), (mouth.lower, mouth.lower_rim, -1.0)):
        base = points[edge[1:-1]]
        back = base - np.array([0.0, surface.MOUTH_HEIGHT, 30.0])
        back /= np.linalg.norm(back, axis=1, keepdims=True)
        for line, (inwards, into) in zip(rim, LIP_RIM, strict=True):
            points[line[1:-1]] = base - inwards * back + into * lens * np.array([0.0, up, 0.0])


def _place_lid_rims(builder: _Builder, right: Slit, left: Slit) -> None:
    """Lid margins: straight towards the centre of the eyeball, ending inside it."""
    points = builder.points
    for slit, side in ((right, -1.0), (left, 1.0)):
        center = surface.EYE_CENTER * np.array([side, 1.0, 1.0])
        for edge, rim in ((slit.upper, slit.upper_rim), (slit.lower, slit.lower_rim)):
            offset = points[edge[1:-1]] - center
            length = np.linalg.norm(offset, axis=1, keepdims=True)
            points[rim[0][1:-1]] = center + offset * (0.97 * surface.EYE_RADIUS / length)
