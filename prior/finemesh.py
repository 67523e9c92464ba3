"""The base mesh at the resolution of the volume: subdivided, and closed where the UV square meets itself."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

UV_MARGIN = 1.0 / 32.0
"""How far, in UV, the strip reaches that closes the seam; the texture has that much room around the square."""
WIDEST_SEAM = 0.05
"""Metres between the two sides of a seam that is closed; farther apart, a border is an opening such as a neck."""
ON_BORDER = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineMesh:
    """A finer mesh whose vertices are fixed blends of those of a base mesh, whatever its expression.

    Attributes:
        blend: sparse [V, B]; rows sum to 1.
        uv: [V, 2] in [0, 1].
        faces: [F, 3], wound like those of the base mesh.
        weld: [V] number of the point that a vertex is at; vertices on both sides of a seam share it.
    """

    blend: sparse.csr_array
    uv: Float[np.ndarray, "V 2"]
    faces: Int[np.ndarray, "F 3"]
    weld: Int[np.ndarray, "V"]

    def __len__(self) -> int:
        return len(self.uv)

    def points(self, base: Float[np.ndarray, "B 3"]) -> Float[np.ndarray, "V 3"]:
        """Where the vertices are when those of the base mesh are at ``base``, metres."""
        return self.blend @ base.astype(np.float64)

    def welded(self, values: Float[np.ndarray, "V C"]) -> Float[np.ndarray, "V C"]:
        """The mean of each point's vertices, at all of them."""
        sums = np.zeros((self.weld.max() + 1, values.shape[1]))
        np.add.at(sums, self.weld, values)
        return (sums / np.bincount(self.weld)[:, None])[self.weld]

    def normals(self, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Unit normals, means over the faces around each point, weighted by area."""
        first, second, third = (points[self.faces[:, corner]] for corner in range(3))
        across = np.cross(second - first, third - first)
        sums = np.zeros((self.weld.max() + 1, 3))
        for corner in range(3):
            np.add.at(sums, self.weld[self.faces[:, corner]], across)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.maximum(length, 1e-20))[self.weld]

    def edges(self) -> Int[np.ndarray, "E 2"]:
        """Every edge once, as a pair of vertices."""
        return _edges(self.faces)[0]


def refine_mesh(
    rest: Float[np.ndarray, "B 3"],
    uv: Float[np.ndarray, "B 2"],
    faces: Int[np.ndarray, "F 3"],
    *,
    most_vertices: int,
) -> FineMesh:
    """Split every triangle in four as often as ``most_vertices`` allows, and close the seam.

    ``rest`` [B, 3] are the vertices of the template, metres: where two are at one place, they are welded.
    """
    blend = sparse.csr_array(sparse.identity(len(rest)))
    uv, faces = uv.astype(np.float64), faces.astype(np.int64)
    while len(uv) + len(_edges(faces)[0]) <= most_vertices:
        blend, uv, faces = _split(blend, uv, faces)
    blend, uv, faces = _close_seam(blend, uv, faces, rest.astype(np.float64))
    places = np.round(blend @ rest.astype(np.float64), 6)
    weld = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    return FineMesh(blend=sparse.csr_array(blend), uv=uv, faces=faces, weld=weld)


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2], and for each face the number of the edge behind each corner [F, 3]."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, number = np.unique(sides, axis=0, return_inverse=True)
    return edges, number.reshape(3, -1).T


def _split(
    blend: sparse.csr_array, uv: np.ndarray, faces: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    edges, number = _edges(faces)
    middle = 0.5 * (blend[edges[:, 0]] + blend[edges[:, 1]])
    a, b, c = faces.T
    ab, bc, ca = (number + len(uv)).T
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return (
        sparse.csr_array(sparse.vstack([blend, middle])),
        np.concatenate([uv, uv[edges].mean(axis=1)]),
        np.concatenate([np.stack(part, axis=1) for part in parts]),
    )


def _close_seam(
    blend: sparse.csr_array, uv: np.ndarray, faces: np.ndarray, rest: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Where the border of an octahedral UV square folds onto itself, add a strip from each side to the middle.

    The square's border runs down the back of the head; its two sides are a gap apart in the template.
    """
    edges, number = _edges(faces)
    used = np.bincount(number.reshape(-1), minlength=len(edges))
    border = edges[used == 1]
    partner = _partners(uv, np.unique(border))
    points = blend @ rest
    sides = [
        (axis, side, border[(np.abs(uv[border][:, :, axis] - side) < ON_BORDER).all(axis=1)])
        for axis in range(2)
        for side in (0.0, 1.0)
    ]
    if sum(len(found) for _, _, found in sides) != len(border) or len(border) == 0:
        return blend, uv, faces  # the border is no UV square
    pairs = np.array([[i, j] for (i, _), j in partner.items()])
    if (pairs < 0).any() or np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1).max() > WIDEST_SEAM:
        return blend, uv, faces
    rows, places, strips = [blend], [uv], [faces]
    count = len(uv)
    for axis, side, found in sides:
        along = np.unique(found)
        other = np.array([partner[(int(vertex), axis)] for vertex in along])
        rows.append(0.5 * (blend[along] + blend[other]))
        outside = uv[along].copy()
        outside[:, axis] += UV_MARGIN if side else -UV_MARGIN
        places.append(outside)
        middle = dict(zip(along.tolist(), range(count, count + len(along)), strict=True))
        count += len(along)
        strips.append(_strip(_wound(found, faces), middle))
    wide = (np.concatenate(places) + UV_MARGIN) / (1.0 + 2.0 * UV_MARGIN)
    return sparse.csr_array(sparse.vstack(rows)), wide, np.concatenate(strips)


def _partners(uv: np.ndarray, vertices: np.ndarray) -> dict[tuple[int, int], int]:
    """(vertex, axis) → the vertex that the fold puts on it, −1 where there is none.

    On a side where u (axis 0) is constant, v goes to 1 − v, and the other way round.
    """
    where = {tuple(np.round(uv[vertex], 5)): int(vertex) for vertex in vertices}
    partner = {}
    for vertex in vertices:
        for axis in range(2):
            if min(abs(uv[vertex, axis]), abs(1.0 - uv[vertex, axis])) < ON_BORDER:
                mirrored = uv[vertex].copy()
                mirrored[1 - axis] = 1.0 - mirrored[1 - axis]
                partner[(int(vertex), axis)] = where.get(tuple(np.round(mirrored, 5)), -1)
    return partner


def _wound(border: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The edges in the direction in which their face goes along them."""
    directed = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    return np.array([edge if tuple(edge.tolist()) in directed else edge[::-1] for edge in border])


def _strip(edges: np.ndarray, middle: dict[int, int]) -> np.ndarray:
    """Two triangles from each edge to the middle of the seam, on the other side of the edge than its face."""
    across = np.array([[middle[int(vertex)] for vertex in edge] for edge in edges])
    (a, b), (c, d) = edges.T, across.T
    return np.concatenate([np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)])
