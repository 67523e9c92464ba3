"""An avatar of a small ellipsoid head, made without a fit."""

from pathlib import Path

import torch

from fitting.avatar import Avatar
from fitting.state import Solution
from prior.vrmm import VRMM
from tests.fitting.tiny import RENDERING, cameras, tiny_model


def make_avatar(folder: Path) -> Path:
    """Write an avatar in light from its left; the folder."""
    avatar_of(tiny_model().requires_grad_(False)).save(folder)
    return folder


def avatar_of(model: VRMM) -> Avatar:
    """The head of a model's first identity at rest."""
    directions = model.light_sphere.directions
    solution = Solution(
        z_id=model.identity_codes.weight[:1].detach(),
        weights=torch.eye(len(model.subjects))[0],
        z_e=torch.zeros(1, model.config.expression),
        light=0.02 * (1.0 + 0.8 * directions[:, :1]).expand(-1, 3).contiguous(),
        rotation=torch.eye(3)[None],
        translation=torch.zeros(1, 3),
        cameras=cameras((0.0,)),
    )
    report = {
        "seconds": {"inversion": 1.0},
        "losses": {"inversion": []},
        "input": {"finetuned": {"psnr": 30.0, "mae255": 4.0}},
        "reasons": [],
    }
    return Avatar(
        model=model,
        rendering=RENDERING,
        solution=solution,
        inversion=solution,
        description={"inversion_key": "made up"},
        report=report,
    )
