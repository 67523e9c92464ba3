"""How the points of a surface answer to light from every direction, towards every viewer."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from prior.lighting import fibonacci_directions
from prior.metrics import display
from prior.surface import Surface
from prior.vrmm import Geometry
from tools.export.source import Source
from tools.export.splats import TERMS, harmonic_basis

VIEWS = 26
"""Directions of viewers that are asked, all around."""
BEHIND = 0.02
"""Weight of viewers behind a point, against 1 for the one in front of it."""
DAMPING = 1e-3
TERMS_OF_VIEW = 4
"""Spherical harmonics of the view in a response: up to degree 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """radiance_c(view) = gain_c · Σ_l light_lc · Σ_k harmonic_k(view) · answer_kl, for N points.

    ``view`` is the direction from the camera to the point, head frame, as in ``splats.harmonic_basis``.

    Attributes:
        gain: [N, 3].
        answer: [N, 4, N_l] to each direction of the light field.
        seen: [N_d, N] weight of each of the ``directions`` for each point: how far it is in front.
        directions: [N_d, 3] unit, from the head to viewers.
    """

    gain: Float[Tensor, "N 3"]
    answer: Float[Tensor, "N 4 L"]
    seen: Float[Tensor, "D N"]
    directions: Float[Tensor, "D 3"]

    def radiance(self, light: Float[Tensor, "L 3"], view: Float[Tensor, "*D 3"]) -> Float[Tensor, "*D N 3"]:
        """Linear radiance under a light, in directions that are the same for all points."""
        terms = harmonic_basis(view.reshape(-1, 3))[:, :TERMS_OF_VIEW].reshape(*view.shape[:-1], TERMS_OF_VIEW)
        return self.gain * torch.einsum("...k,nkl,lc->...nc", terms, self.answer, light)

    def seen_from(self, light: Float[Tensor, "L 3"], view: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Linear radiance under a light, of each point in a direction of its own."""
        terms = harmonic_basis(view)[:, :TERMS_OF_VIEW]
        return self.gain * torch.einsum("nk,nkc->nc", terms, self.answer @ light)

    def at(self, points: Tensor) -> "Response":
        """Of some of the points."""
        return Response(
            gain=self.gain[points], answer=self.answer[points], seen=self.seen[:, points], directions=self.directions
        )

    def matched(self, harmonics: Float[Tensor, "N 16 3"], light: Float[Tensor, "L 3"]) -> "Response":
        """With the gain at which the points look on average, under ``light``, as ``harmonics`` of them do."""
        weight = self.seen[:, :, None] / self.seen.sum(dim=0)[:, None]
        wanted = (torch.einsum("dk,nkc->dnc", harmonic_basis(-self.directions), harmonics) + 0.5).clamp(0.0, 1.0)
        found = self.radiance(light, -self.directions).clamp(min=0.0)
        ratio = ((wanted**2.2) * weight).sum(dim=0) / (found * weight).sum(dim=0).clamp(min=1e-4)
        return dataclasses.replace(self, gain=self.gain * ratio.clamp(0.5, 2.0))


@torch.no_grad()
def surface_response(source: Source, geometry: Geometry, surface: Surface) -> tuple[Response, Float[Tensor, "V 16 3"]]:
    """The response of a surface's vertices, and their display colours in the source's light as harmonics.

    Both are fitted to what the model says to viewers all around, those in front of a vertex first.
    """
    directions = torch.tensor(fibonacci_directions(VIEWS), dtype=torch.float32)
    normals = torch.tensor(surface.normals, dtype=torch.float32)
    seen = (directions @ normals.T).clamp(min=0.0) + BEHIND
    few, many = _solver(directions, seen, TERMS_OF_VIEW), _solver(directions, seen, TERMS)
    answer = torch.zeros(len(normals), TERMS_OF_VIEW, len(source.light))
    harmonics = torch.zeros(len(normals), TERMS, 3)
    gain, grey = torch.empty(0), torch.empty(0)
    for number, direction in enumerate(directions):
        gains, shading = source.model.decode_response(geometry, direction[None, None])
        voxels = gains.reshape(-1, 3)
        brightness = voxels.mean(dim=1, keepdim=True)
        if number == 0:
            gain, grey = surface.gather(voxels), surface.gather(brightness).clamp(min=1e-6)
        found = surface.gather(brightness * shading.reshape(len(voxels), -1)) / grey
        answer += few[number][:, :, None] * found[:, None]
        harmonics += many[number][:, :, None] * (display(gain * (found @ source.light)) - 0.5)[:, None]
    return Response(gain=gain, answer=answer, seen=seen, directions=directions), harmonics


def _solver(directions: Tensor, seen: Tensor, terms: int) -> Float[Tensor, "D N K"]:
    """Weights with which values towards the viewers add up to their harmonics (weighted least squares)."""
    basis = harmonic_basis(-directions)[:, :terms]
    normal = torch.einsum("dn,di,dj->nij", seen, basis, basis) + DAMPING * torch.eye(terms)
    return torch.linalg.solve(normal, torch.einsum("dn,di->nid", seen, basis)).permute(2, 0, 1)
