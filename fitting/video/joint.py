"""All frames of a video together: one identity and light, and motion that does not tremble."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from fitting.bank import TrainingBank
from fitting.inversion import InversionTerms
from fitting.objective import DepthPrior
from fitting.recipe import FitRecipe
from fitting.video.frames import KeptFrames
from fitting.video.state import VideoOptimizer, VideoState, drawn_rows, smoothness
from prior.render import RenderConfig
from prior.vrmm import VRMM

CHECKPOINT = "joint.safetensors"


def joint_steps(recipe: FitRecipe, count: int) -> int:
    """Steps of the joint stage for ``count`` frames."""
    return recipe.video.visits * -(-count // recipe.video.batch)


def fit_jointly(
    model: VRMM,
    rendering: RenderConfig,
    bank: TrainingBank,
    frames: KeptFrames,
    state: VideoState,
    recipe: FitRecipe,
    folder: Path,
    report: Callable[[int, int, float], object] = lambda done, total, loss: None,
) -> list[float]:
    """Improve all unknowns of ``state`` on a few frames a step, in place; memory does not grow with the video.

    Checkpoints are kept in ``folder``; a fit that was interrupted goes on from the last one, with the same result.

    Args:
        model, rendering, bank: of the prior.
        frames: of the video.
        state: where to begin.
        recipe: of the fit.
        folder: of the checkpoint.
        report: called as ``report(done, total, loss)``.

    Returns:
        The loss of every step.

    Raises:
        VrmmError: a loss that is not finite.
    """
    config, total = recipe.video, joint_steps(recipe, len(state))
    optimizer = VideoOptimizer(state, _rates(recipe), max(total, 1))
    losses = _resume(folder, state, optimizer)
    for step in range(len(losses), total):
        rows = drawn_rows(recipe.seed, step, config.batch, len(state))
        views = frames.views(rows.tolist())
        batch = state.batch(model, views, rows)
        optimizer.prepare(batch)
        solution = batch.solution(views)
        terms = InversionTerms(model, rendering, recipe, bank, DepthPrior(solution.detached(), views))
        loss = terms(batch, views, recipe.inversion.fade * (1.0 - config.landmarks))
        loss = loss + smoothness(state, solution, rows, config)
        check_finite(loss, views.names)
        loss.backward()
        optimizer.step(step, rows, batch)
        losses.append(float(loss.detach()))
        report(step + 1, total, losses[-1])
        if (step + 1) % config.save_every == 0 or step + 1 == total:
            _save(folder, state, optimizer, losses)
    return losses


def check_finite(loss: Tensor, names: tuple[str, ...]) -> None:
    """Raises VrmmError, naming the frames, for a loss that is not finite."""
    if not math.isfinite(float(loss.detach())):
        raise VrmmError(f"the fit of {', '.join(names)} left the finite numbers; lower the recipe's rates")


def _rates(recipe: FitRecipe) -> dict[str, float]:
    """Those of the inversion, lower."""
    inversion, share = recipe.inversion, recipe.video.rate
    return {
        "weights": share * inversion.lr_weights,
        "offset": 0.0,
        "raw_light": share * inversion.lr_light,
        "z_e": share * inversion.lr_expression,
        "turn": share * inversion.lr_turn,
        "shift": share * inversion.lr_shift,
    }


def _save(folder: Path, state: VideoState, optimizer: VideoOptimizer, losses: list[float]) -> None:
    tensors = {f"state.{name}": value for name, value in state.tensors().items()}
    tensors |= {f"adam.{name}": value for name, value in optimizer.adam.tensors().items()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    atomic_write_bytes(folder / CHECKPOINT, save(tensors, metadata={"losses": json.dumps(losses)}))


def _resume(folder: Path, state: VideoState, optimizer: VideoOptimizer) -> list[float]:
    """Take over the checkpoint, if there is one; returns the losses up to it."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            opened: Any = file
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            losses = json.loads(opened.metadata()["losses"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise VrmmError(f"{path} is damaged ({error}); delete it to begin the joint stage again") from error
    state.load({name.removeprefix("state."): value for name, value in tensors.items()})
    optimizer.adam.load({name.removeprefix("adam."): value for name, value in tensors.items()})
    return losses
