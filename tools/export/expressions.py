"""Leading expression directions of a person, and what they do to the surface."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from prior.finemesh import FineMesh
from prior.surface import Surface
from tools.export.source import Source

DRAWN = 256
"""Codes from which the directions are taken where no prior is named."""
REGIONS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
"""The 68 Multi-PIE landmarks of the template."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expression:
    """One direction in which faces move.

    Attributes:
        name: ``expression_01_mouth``: its rank and the part of the face that moves most.
        offset: [E] of the expression code at weight 1, one standard deviation of what is usual.
    """

    name: str
    offset: Float[Tensor, "E"]


@torch.no_grad()
def leading_expressions(source: Source, count: int, prior: Path | None) -> list[Expression]:
    """The directions of the expression code along which the base mesh moves most, strongest first.

    They are the principal components of the base mesh over the codes of the training frames of ``prior``, or over
    codes drawn from the normal distribution that training pulls them to. A direction moves the code, and with it the
    mesh, by one standard deviation.

    Raises:
        VrmmError: the bank of codes is of another model.
    """
    bank = TrainingBank(codes=torch.zeros(0, source.z_e.shape[1]), lights=torch.zeros(0, 1, 3))
    if prior is not None:
        bank = TrainingBank.of_prior(prior, source.model)
    codes = bank.codes if len(bank.codes) else bank.draw_codes(DRAWN, torch.Generator().manual_seed(0))
    spread = codes - codes.mean(dim=0)
    meshes = source.model.mesh_decoder(source.z_id.expand(len(codes), -1), source.z_e + spread).flatten(1)
    moved = meshes - meshes.mean(dim=0)
    _, strength, _ = torch.linalg.svd(moved, full_matrices=False)
    count = min(count, codes.shape[1], int((strength > 1e-6 * strength[0].clamp(min=1e-12)).sum()))
    scores = torch.linalg.svd(moved, full_matrices=False)[0][:, :count] * len(codes) ** 0.5
    # The code that goes with a score of 1 (regression of the codes on the scores).
    offsets = (scores.T @ spread) / len(codes)
    return [
        Expression(name=f"expression_{rank + 1:02d}_{_region(source, offset)}", offset=offset)
        for rank, offset in enumerate(offsets)
    ]


@torch.no_grad()
def _region(source: Source, offset: Tensor) -> str:
    """The part of the face whose landmarks move most."""
    model = source.model
    template = model.mesh_decoder.template
    nearest = torch.cdist(model.template_landmarks, template).argmin(dim=1)
    plus, minus = (model.mesh_decoder(source.z_id, source.z_e + sign * offset)[0, nearest] for sign in (1.0, -1.0))
    moved = (plus - minus).norm(dim=-1)
    return max(REGIONS, key=lambda name: float(moved[REGIONS[name]].mean()))


def surface_offset(source: Source, mesh: FineMesh, expression: Expression, lift: float) -> Float[np.ndarray, "V 3"]:
    """How the vertices of the surface move from weight 0 to 1, metres.

    It is half of the way from weight −1 to 1, so that a target may be worn with either sign.
    """
    ends: list[Surface] = []
    for sign in (1.0, -1.0):
        geometry = source.geometry(source.z_e + sign * expression.offset)
        ends.append(source.surface(mesh, geometry).lifted(lift))
    return 0.5 * (ends[0].points - ends[1].points)
