"""Small mesh operations shared by the head models."""

import numpy as np
from jaxtyping import Float, Int

from datasets.errors import VrmmError


def vertex_normals(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit normals; vertices without a face get zero."""
    first, second, third = (points[faces[:, k]] for k in range(3))
    areas = np.cross(second - first, third - first)
    normals = np.stack(
        [sum(np.bincount(faces[:, k], areas[:, axis], minlength=len(points)) for k in range(3)) for axis in range(3)],
        1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def boundary_loop(
    faces: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "V 3"], *, lowest: bool
) -> Int[np.ndarray, "L"]:
    """The boundary loop whose mean height is lowest (or highest), in an order that faces would cap it outwards.

    Raises:
        VrmmError: the mesh has no boundary.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = np.sort(edges, 1)
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    border = edges[counts[inverse.ravel()] == 1]
    following = {int(b): int(a) for a, b in border}
    loops = []
    while following:
        start, after = next(iter(following.items()))
        loop = [start]
        del following[start]
        while after != start and after in following:
            loop.append(after)
            after = following.pop(after)
        loops.append(np.array(loop))
    if not loops:
        raise VrmmError("the head mesh has no open neck; it is not the expected topology")
    heights = [points[loop][:, 1].mean() for loop in loops]
    return loops[int(np.argmin(heights) if lowest else np.argmax(heights))]
