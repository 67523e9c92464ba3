"""Following a head from frame to frame: each begins where the last one ended, identity and light stand still."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.files import atomic_write_bytes
from fitting.bank import TrainingBank
from fitting.inversion import InversionTerms
from fitting.objective import CarriedLandmarks, DepthPrior
from fitting.optimizer import ScheduledAdam
from fitting.pose import refine_pose
from fitting.recipe import FitRecipe
from fitting.state import FitState, Solution
from fitting.video.frames import KeptFrames
from fitting.video.state import Track
from fitting.views import Views
from prior.render import RenderConfig
from prior.vrmm import VRMM

CHUNK = 8
"""Frames that are kept together; what is lost when a fit is killed."""
_PARTS = ("z_e", "rotation", "translation", "losses")


class Tracker:
    """Fits frames one after the other (Giebenhain et al., MonoNPHM, 4.6). Final.

    Args:
        model, rendering, bank: of the prior.
        recipe: of the fit.
        first: inversion of the first frame, with its light's rotation.
    """

    def __init__(
        self, model: VRMM, rendering: RenderConfig, bank: TrainingBank, recipe: FitRecipe, first: Solution
    ) -> None:
        self._model, self._rendering, self._bank, self._recipe = model, rendering, bank, recipe
        self._first, self._carried = first, CarriedLandmarks(model)

    def follow(
        self, frames: KeptFrames, folder: Path, report: Callable[[int, float], object] = lambda done, loss: None
    ) -> tuple[Track, list[float]]:
        """All frames, and the loss that each ended with; chunks in ``folder`` are kept and gone on from.

        Raises:
            VrmmError: a loss that is not finite.
        """
        first = self._first
        chunks = _kept(folder)
        rows: list[tuple[Tensor, ...]] = [
            row for chunk in chunks for row in zip(*(chunk[name] for name in _PARTS), strict=True)
        ]
        if not rows:
            rows = [(first.z_e[0], first.rotation[0], first.translation[0], torch.zeros(()))]
        for row in range(len(rows), len(frames)):
            z_e, rotation, translation, _ = rows[-1]
            rows.append(self._frame(frames.views([row]), z_e, rotation, translation))
            report(row + 1, float(rows[-1][3]))
            if len(rows) == CHUNK * (len(chunks) + 1) or row == len(frames) - 1:
                chunks.append(_keep(folder, len(chunks), rows[CHUNK * len(chunks) :]))
        parts = [torch.stack(part) for part in zip(*rows, strict=True)]
        return Track(z_e=parts[0], rotation=parts[1], translation=parts[2]), parts[3].tolist()

    def _frame(self, views: Views, z_e: Tensor, rotation: Tensor, translation: Tensor) -> tuple[Tensor, ...]:
        """z_e, rotation, translation and loss of one frame, from those of the one before."""
        steps = self._recipe.video.steps
        state = self._start(views, z_e, rotation, translation)
        depth = DepthPrior(state.solution(views), views)
        terms = InversionTerms(self._model, self._rendering, self._recipe, self._bank, depth)
        rates = self._recipe.inversion
        groups = [
            {"params": [state.z_e], "lr": rates.lr_expression},
            {"params": [state.turn], "lr": rates.lr_turn},
            {"params": [state.shift], "lr": rates.lr_shift},
        ]
        optimizer, coarse, loss = ScheduledAdam(groups, steps), views.halved(), torch.zeros(())
        for step in range(steps):
            loss = terms(state, coarse if 2 * step < steps else views, step / steps)
            optimizer.step(loss, views)
        found = state.solution(views).detached()
        return found.z_e[0], found.rotation[0], found.translation[0], loss.detach()

    def _start(self, views: Views, z_e: Tensor, rotation: Tensor, translation: Tensor) -> FitState:
        """The last expression, and the pose in which its landmarks lie where they are seen now."""
        with torch.no_grad():
            vertices = self._model.decode_geometry(self._first.z_id, z_e[None]).vertices
            points = self._carried(vertices)[0]
        turned, moved = refine_pose(
            views.landmarks.double().numpy(),
            points.double().numpy(),
            views.cameras.intrinsics.double().numpy(),
            views.cameras.world_to_camera.double().numpy(),
            rotation.double().numpy(),
            translation.double().numpy(),
        )
        solution = dataclasses.replace(
            self._first,
            z_e=z_e[None],
            rotation=torch.tensor(turned[None].astype(np.float32)),
            translation=torch.tensor(moved[None].astype(np.float32)),
            cameras=views.cameras,
        )
        state = FitState.at_solution(self._model, views, solution)
        state.requires_grad_(False)
        for parameter in (state.z_e, state.turn, state.shift):
            parameter.requires_grad_(True)
        return state


def _kept(folder: Path) -> list[dict[str, Tensor]]:
    chunks = []
    while (path := _path(folder, len(chunks))).is_file():
        with np.load(path, allow_pickle=False) as arrays:
            chunks.append({name: torch.from_numpy(arrays[name]) for name in _PARTS})
    return chunks


def _keep(folder: Path, number: int, rows: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    stacked = [torch.stack(part) for part in zip(*rows, strict=True)]
    parts: dict[str, Tensor] = dict(zip(_PARTS, stacked, strict=True))
    arrays: dict[str, Any] = {name: value.numpy() for name, value in parts.items()}
    data = io.BytesIO()
    np.savez(data, **arrays)
    atomic_write_bytes(_path(folder, number), data.getvalue())
    return parts


def _path(folder: Path, number: int) -> Path:
    return folder / f"track_{number:05d}.npz"
