"""People for tests of shows: subjects of a tiny run, and avatars whose decoders differ from it."""

import dataclasses
from pathlib import Path

import torch

from datasets.capture import Pose
from fitting.avatar import Avatar
from fitting.bank import TrainingBank
from fitting.state import Solution
from prior.cameras import CameraBatch
from prior.vrmm import VRMM
from prior.weights import save_weights
from tests.fitting.tiny import RENDERING, cameras, tiny_model
from tools.shows.people import Person

FAST = dataclasses.replace(RENDERING, step=0.02, backend="reference")


def make_run(folder: Path) -> Path:
    """A run folder as training leaves it, without a bank of codes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(tiny_model(), FAST, folder)
    return folder


def make_avatar(folder: Path, prior: str, *, tuned: float = 0.0, views: int = 1) -> Avatar:
    """An avatar of ``views`` placed photos whose decoders are ``tuned`` away from the prior."""
    model = tiny_model().requires_grad_(False)
    generator = torch.Generator().manual_seed(4)
    for parameter in model.appearance_decoder.parameters():
        parameter.add_(tuned * torch.randn(parameter.shape, generator=generator).abs())
    solution = Solution(
        z_id=0.5 * torch.randn(1, model.config.identity, generator=generator),
        weights=torch.full((len(model.subjects),), 1.0 / len(model.subjects)),
        z_e=0.5 * torch.randn(1, model.config.expression, generator=generator),
        light=torch.rand(model.config.light_directions, 3, generator=generator),
        rotation=torch.eye(3).expand(views, 3, 3).clone(),
        translation=torch.zeros(views, 3),
        cameras=_cameras(views),
    )
    row = {"psnr": 25.0, "ssim": 0.9, "mae255": 6.0, "mask_iou": 0.95}
    avatar = Avatar(
        model=model,
        rendering=FAST,
        solution=solution,
        inversion=solution,
        description={
            "key": "k",
            "inversion_key": "i",
            "prior": {"sha256": prior, "subjects": len(model.subjects)},
            "photos": ["me.png"],
            "placed": True,
            "crops": [],
            "recipe": {"seed": 3, "finetune": {"steps": 7}},
            "libraries": {"torch": "2.13.0"},
            "source": {"photos": ["my photos/me.png"], "cameras": None, "prior": "runs/p"},
        },
        report={
            "seconds": {"inversion": 1.0, "finetuning": 2.0},
            "sound": True,
            "reasons": [],
            "input": {"inversion": row, "finetuned": row},
            "losses": {name: [3.0, 2.0, 1.0] for name in ("inversion", "finetuning", "locality")},
            "diagnostics": {"prior_distance": 1.5, "identity_leak": 0.01, "expression_response": 1.1},
            "light": {"irradiance": [1.0, 2.0, 3.0], "direction": [0.0, 0.0, 1.0], "directedness": 0.4},
            "focal": [300.0],
        },
    )
    avatar.save(folder)
    return avatar


def person(model: VRMM, number: int = 0) -> Person:
    """A subject of a model that lies in no folder."""
    config = model.config
    return Person(
        name=f"s{number}",
        model=model,
        rendering=FAST,
        z_id=model.identity_code(torch.tensor([number])).detach(),
        z_e=torch.zeros(1, config.expression),
        pose=Pose.identity(),
        prior="a prior",
        bank=TrainingBank(codes=torch.zeros(0, config.expression), lights=torch.zeros(0, config.light_directions, 3)),
    )


def _cameras(views: int) -> CameraBatch:
    return cameras(tuple(20.0 * view for view in range(views)))
