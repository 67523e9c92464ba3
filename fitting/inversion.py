"""Inversion (eq. 14): the blend of training identities, expression, light, pose and camera that explain the photos."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from fitting.objective import CarriedLandmarks, DepthPrior, LightPrior, input_level, landmark_loss, photo_loss
from fitting.optimizer import ScheduledAdam
from fitting.pose import initial_pose
from fitting.recipe import Expressions, FitRecipe, InversionConfig
from fitting.rendering import render_solution
from fitting.state import FitState, Solution
from fitting.views import Views
from prior.render import RenderConfig
from prior.vrmm import VRMM

Progress = Callable[[str, int, int, float], None]
"""Called as ``progress(stage, done, total, loss)``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion:
    """The result of eq. 14.

    Attributes:
        solution: the unknowns.
        losses: the objective at every step.
    """

    solution: Solution
    losses: list[float]


def start_state(model: VRMM, views: Views, recipe: FitRecipe) -> tuple[FitState, Views]:
    """Mean identity and expression, uniform light, the pose of PnP; and the views through the lenses it found."""
    pose = initial_pose(views, model.template_landmarks.numpy().astype("float64"))
    views = views.through(torch.tensor(pose.intrinsics.tolist()))
    state = FitState.at_pose(model, views, pose)
    if recipe.expressions is Expressions.each:
        state.each_expression(len(views))
    return state, views


def invert(
    model: VRMM,
    rendering: RenderConfig,
    views: Views,
    recipe: FitRecipe,
    bank: TrainingBank,
    progress: Progress | None = None,
) -> Inversion:
    """Minimise eq. 14 with Adam, at half the resolution first, led by landmarks at the beginning.

    The model is not changed.

    Raises:
        VrmmError: landmarks of no face, or a loss that is not finite.
    """
    config = recipe.inversion
    state, views = start_state(model, views, recipe)
    terms = InversionTerms(model, rendering, recipe, bank, DepthPrior(state.solution(views), views))
    with torch.no_grad():
        if bank.has_lights:
            state.level.fill_(math.exp(bank.light_level()[0]))
        else:
            state.level.mul_(input_level(render_solution(model, state.solution(views), rendering), views))
    coarse, switch = views.halved(), round(config.coarse * config.steps)
    optimizer = ScheduledAdam(_groups(state, config, views), config.steps)
    history = []
    for step in range(config.steps):
        loss = terms(state, coarse if step < switch else views, step / config.steps)
        optimizer.step(loss, views)
        history.append(float(loss.detach()))
        if progress is not None:
            progress("inversion", step + 1, config.steps, history[-1])
    return Inversion(solution=state.solution(views).detached(), losses=history)


class InversionTerms:
    """The objective of eq. 14 with the regularisers of the recipe. Final."""

    def __init__(
        self, model: VRMM, rendering: RenderConfig, recipe: FitRecipe, bank: TrainingBank, depth: DepthPrior
    ) -> None:
        self._model, self._rendering, self._recipe = model, rendering, recipe
        self._depth = depth
        self._carried, self._light = CarriedLandmarks(model), LightPrior(model.light_sphere, bank, recipe.inversion)

    def __call__(self, state: FitState, views: Views, progress: float) -> Float[Tensor, ""]:
        """The weighted sum; ``progress`` in [0, 1) fades the landmarks."""
        config = self._recipe.inversion
        solution = state.solution(views)
        rendered = render_solution(self._model, solution, self._rendering)
        total = photo_loss(rendered, views, self._recipe.losses)
        total = total + config.weights * (state.weights**2).sum() + config.expression * (state.z_e**2).mean()
        total = total + self._light(state) + config.focal * (state.log_focal**2).sum()
        total = total + config.depth * self._depth(solution)
        lead = config.landmarks * max(0.0, 1.0 - progress / config.fade) if config.fade > 0 else 0.0
        if lead > 0:
            total = total + lead * landmark_loss(self._carried(rendered.vertices), solution, views)
        return total


def _groups(state: FitState, config: InversionConfig, views: Views) -> list[dict]:
    groups = [
        {"params": [state.weights], "lr": config.lr_weights},
        {"params": [state.z_e], "lr": config.lr_expression},
        {"params": [state.raw_light], "lr": config.lr_light},
        {"params": [state.turn], "lr": config.lr_turn},
        {"params": [state.shift], "lr": config.lr_shift},
    ]
    state.offset.requires_grad_(False)
    state.log_focal.requires_grad_(not views.focal_known)
    if not views.focal_known:
        groups.append({"params": [state.log_focal], "lr": config.lr_focal})
    return groups
