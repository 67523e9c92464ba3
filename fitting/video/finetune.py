"""Fine-tuning on a video (eq. 15): a few frames a step, held to the prior by locality regularisation."""

import copy
import dataclasses
from collections.abc import Callable

from fitting.bank import TrainingBank
from fitting.expression_noise import ExpressionNoise
from fitting.finetune import FinetuneRegularizer, tuned_parameters
from fitting.locality import Locality
from fitting.objective import DepthPrior, photo_loss
from fitting.optimizer import ScheduledAdam
from fitting.recipe import FitRecipe
from fitting.rendering import render_solution
from fitting.video.frames import KeptFrames
from fitting.video.joint import check_finite
from fitting.video.state import VideoOptimizer, VideoState, drawn_rows, smoothness
from prior.render import RenderConfig
from prior.vrmm import VRMM


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetunedVideo:
    """A copy of the prior with tuned decoders, the refined unknowns, L and the unweighted L_LR at every step."""

    model: VRMM
    state: VideoState
    losses: list[float]
    locality: list[float]


def finetune_video(
    prior: VRMM,
    rendering: RenderConfig,
    bank: TrainingBank,
    frames: KeptFrames,
    start: VideoState,
    recipe: FitRecipe,
    report: Callable[[int, int, float], object] = lambda done, total, loss: None,
) -> FinetunedVideo:
    """Minimise eq. 15 over all frames of a video. Neither the prior nor ``start`` is changed.

    Raises:
        VrmmError: a loss that is not finite.
    """
    config, total = recipe.finetune, recipe.finetune.steps
    model, state = copy.deepcopy(prior), start.copy()
    tuned = tuned_parameters(model, config)
    decoders = ScheduledAdam([{"params": tuned, "lr": config.lr}], total, config.clip, tuned) if tuned else None
    optimizer = VideoOptimizer(state, _rates(recipe), max(total, 1))
    locality = Locality(prior, rendering, config.locality, recipe.losses, bank, recipe.seed)
    blurred, losses, drift = ExpressionNoise(config.expression_noise, recipe.seed), [], []
    for step in range(total):
        rows = drawn_rows(recipe.seed + 1, step, recipe.video.batch, len(state))
        views = frames.views(rows.tolist())
        batch = state.batch(model, views, rows)
        optimizer.prepare(batch)
        solution = batch.solution(views)
        regularizer = FinetuneRegularizer(model, recipe, bank, DepthPrior(solution.detached(), views))
        loss = photo_loss(render_solution(model, blurred(solution), rendering), views, recipe.losses)
        loss = loss + regularizer(batch, solution) + smoothness(state, solution, rows, recipe.video)
        if config.locality.weight > 0:
            kept = locality(model, solution)
            loss = loss + config.locality.among(len(views)) * kept
            drift.append(float(kept.detach()))
        if decoders is not None:
            decoders.step(loss, views)
        else:
            check_finite(loss, views.names)
            loss.backward()
        optimizer.step(step, rows, batch)
        losses.append(float(loss.detach()))
        report(step + 1, total, losses[-1])
    return FinetunedVideo(model=model.requires_grad_(False), state=state, losses=losses, locality=drift)


def _rates(recipe: FitRecipe) -> dict[str, float]:
    config = recipe.finetune
    return {
        "weights": 0.0,
        "offset": config.lr_identity,
        "raw_light": config.lr_light,
        "z_e": config.lr_expression,
        "turn": config.lr_turn,
        "shift": config.lr_shift,
    }
