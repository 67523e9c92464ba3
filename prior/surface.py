"""The surface that a volume shows: where rays that come in along the normals of the base mesh are stopped."""

import dataclasses
import functools

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from prior.finemesh import FineMesh
from prior.primitives import Placement
from prior.raymarch import raymarch, transport

STEP = 0.001
"""Metres between samples: finer than a voxel's thickness, so that the surface has no steps."""
REACH = 1.5
"""How far from the base mesh rays begin and end, in half thicknesses of the primitives at rest."""
SOLID = 0.5
"""A ray that is stopped less than this has met no surface."""
FILL_ROUNDS = 200
SMOOTH_ROUNDS = 4
"""Of averaging with neighbours: voxels are coarser than the mesh, and their noise is no shape."""
CREASE = 0.007
"""Metres over which the base mesh is smoothed first: under hair, whose sides no picture shows, it is crumpled, and its
normals point anywhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """Rays that come in along the normals of a mesh, and the volume that they meet. Final.

    Attributes:
        origin, direction: [V, 3] head frame, metres and unit.
        reach: of each ray, metres.
        placement: primitives of one head (B = 1), head frame.
        opacity: [K, D, H, W] per metre.
    """

    origin: Float[Tensor, "V 3"]
    direction: Float[Tensor, "V 3"]
    reach: float
    placement: Placement
    opacity: Float[Tensor, "K D H W"]

    @property
    def _near_far(self) -> Float[Tensor, "V 2"]:
        return torch.tensor([0.0, self.reach]).expand(len(self.origin), 2)

    def march(self, values: Float[Tensor, "N 3"]) -> Float[Tensor, "V 4"]:
        """Sums of three quantities that live on voxels, weighted by what the rays take of them; alpha."""
        voxels = torch.cat([values.reshape(*self.opacity.shape, 3), self.opacity[..., None]], dim=-1)
        return raymarch(
            self.origin[None],
            self.direction[None],
            self._near_far[None],
            STEP,
            self.placement.center,
            self.placement.rotation,
            self.placement.half_size,
            voxels[None],
        )[0]

    @functools.cached_property
    def transport(self) -> Float[Tensor, "V N"]:
        """The same for any number of quantities, as a sparse matrix; its rows sum to alpha."""
        placement = self.placement
        return transport(
            self.origin,
            self.direction,
            self._near_far,
            STEP,
            placement.center[0],
            placement.rotation[0],
            placement.half_size[0],
            self.opacity,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """A fine mesh put onto the surface of a volume, head frame.

    Attributes:
        mesh: its topology.
        points: [V, 3] metres.
        normals: [V, 3] unit, of the surface itself.
        alpha: [V] how much of a ray along the base mesh's normal is stopped.
        spread: [V] metres, standard deviation of the depth at which it is stopped: how thick the surface is.
        probe: these rays.
    """

    mesh: FineMesh
    points: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    alpha: Float[np.ndarray, "V"]
    spread: Float[np.ndarray, "V"]
    probe: Probe

    def lifted(self, deviations: float) -> "Surface":
        """The surface so many standard deviations in front of the mean depth.

        Seen along the normal a soft surface stops rays at its mean; seen along its outline, where rays stay in it for
        longer, farther out.
        """
        lift = self.mesh.welded((deviations * self.spread)[:, None] * self.normals)
        points = self.points + lift
        return dataclasses.replace(self, points=points, normals=self.mesh.normals(points))

    def gather(self, values: Float[Tensor, "N C"]) -> Float[Tensor, "V C"]:
        """The mean of what each ray meets of quantities that live on voxels, weighted by what it takes of each."""
        total = torch.tensor(self.alpha, dtype=values.dtype).clamp(min=1e-6)
        return torch.sparse.mm(self.probe.transport, values) / total[:, None]


def voxel_centers(placement: Placement, shape: torch.Size) -> Float[Tensor, "N 3"]:
    """Where the voxels [K, D, H, W] of one head (B = 1) are, metres, in the frame of ``placement``."""
    axes = [torch.linspace(-1.0, 1.0, size) for size in shape[1:4]]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    local = torch.stack([x, y, z], dim=-1) * placement.half_size[0, :, None, None, None]
    turned = torch.einsum("kij,kdhwj->kdhwi", placement.rotation[0], local)
    return (turned + placement.center[0, :, None, None, None]).reshape(-1, 3)


@torch.no_grad()
def trace_surface(
    mesh: FineMesh,
    base: Float[np.ndarray, "B 3"],
    placement: Placement,
    opacity: Float[Tensor, "K D H W"],
    thickness: float,
) -> Surface:
    """March one ray along every normal of ``mesh`` and stop it where the volume stops it on average.

    Where a ray meets too little, the surface continues its neighbours'.

    Args:
        mesh: finer base mesh.
        base: [B, 3] its base mesh's vertices, head frame, metres.
        placement: primitives of one head (B = 1), head frame.
        opacity: per metre.
        thickness: half thickness of a primitive at rest, metres.
    """
    points = _relaxed(mesh, mesh.points(base))
    normals = mesh.normals(points)
    reach = REACH * thickness
    start, inward = (torch.tensor(value, dtype=torch.float32) for value in (points + reach * normals, -normals))
    probe = Probe(
        origin=start,
        direction=torch.nn.functional.normalize(inward, dim=-1),
        reach=2.0 * reach,
        placement=placement,
        opacity=opacity,
    )
    centers = voxel_centers(placement, opacity.shape)
    first, second = probe.march(centers), probe.march(centers**2)
    alpha = first[:, 3]
    mean, square = ((found[:, :3] / alpha.clamp(min=1e-6)[:, None]).double().numpy() for found in (first, second))
    known = (alpha > SOLID).numpy()
    variance = ((square - mean**2) * normals**2).sum(axis=1)
    height = smooth_on_mesh(mesh, ((mean - points) * normals).sum(axis=1), known)
    spread = smooth_on_mesh(mesh, np.sqrt(np.maximum(variance, 0.0)), known)
    found = mesh.welded(points + height[:, None] * normals)
    return Surface(
        mesh=mesh,
        points=found,
        normals=mesh.normals(found),
        alpha=alpha.double().numpy(),
        spread=spread,
        probe=probe,
    )


def smooth_on_mesh(mesh: FineMesh, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values at the vertices, smoothed; what is not known is a membrane stretched between what is."""
    around = _neighbour_mean(mesh)
    weight = np.bincount(mesh.weld, weights=known)
    fixed = weight > 0
    sums = np.bincount(mesh.weld, weights=np.where(known, values, 0.0)) / np.maximum(weight, 1)
    found = np.where(fixed, sums, 0.0)
    for _ in range(0 if fixed.all() or not fixed.any() else FILL_ROUNDS):
        found = np.where(fixed, sums, around @ found)
    for _ in range(SMOOTH_ROUNDS):
        found = 0.5 * (found + around @ found)
    return found[mesh.weld]


def _relaxed(mesh: FineMesh, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """The mesh without creases: every point goes towards the middle of its neighbours, some times over.

    A round spreads a point over half the length of an edge, so n rounds over half an edge times the root of n.
    """
    around, edges = _neighbour_mean(mesh), mesh.edges()
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).mean()
    found = np.zeros((mesh.weld.max() + 1, 3))
    found[mesh.weld] = points
    for _ in range(min(round((2.0 * CREASE / length) ** 2), FILL_ROUNDS)):
        found = 0.5 * (found + around @ found)
    return found[mesh.weld]


def _neighbour_mean(mesh: FineMesh) -> sparse.csr_array:
    """[P, P] over the points of the weld: the mean of those that share an edge with each."""
    ends = mesh.weld[mesh.edges()]
    number = np.concatenate([ends, ends[:, ::-1]])
    count = mesh.weld.max() + 1
    together = sparse.csr_array(sparse.coo_array((np.ones(len(number)), number.T), shape=(count, count)))
    degree = np.maximum(together.sum(axis=1), 1.0)
    return sparse.csr_array(sparse.diags_array(1.0 / degree) @ together)
