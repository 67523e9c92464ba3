"""Inversion (eq. 14): the blend of training identities, expression, light, pose and camera that explain the photos."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from fitting.initializer.storage import Initializer
from fitting.objective import CarriedLandmarks, DepthPrior, LightGuess, LightPrior, landmark_loss, photo_loss
from fitting.optimizer import SHORT, ScheduledAdam
from fitting.recipe import FitRecipe, InversionConfig
from fitting.rendering import render_solution
from fitting.starts import possible_starts
from fitting.state import FitState, Solution
from fitting.views import Views
from prior.render import RenderConfig
from prior.vrmm import VRMM

Progress = Callable[[str, int, int, float], object]
"""Called as ``progress(stage, done, total, loss)``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion:
    """The result of eq. 14.

    Attributes:
        solution: the unknowns.
        losses: the objective at every step.
        photo: its part that compares pictures, before every step (from the mean at half the resolution first) and
            after the last.
        starts: that part's last value from every start that was tried, by the start's name.
    """

    solution: Solution
    losses: list[float]
    photo: list[float] = dataclasses.field(default_factory=list)
    starts: dict[str, float] = dataclasses.field(default_factory=dict)


def invert(
    model: VRMM,
    rendering: RenderConfig,
    views: Views,
    recipe: FitRecipe,
    bank: TrainingBank,
    progress: Progress | None = None,
    initializer: Initializer | None = None,
) -> Inversion:
    """Minimise eq. 14 with Adam, from one start and, while the photos are not explained, from others.

    From the mean identity it goes at half the resolution first, led by landmarks at the beginning; what the
    initializer says is too near for that. The model is not changed.

    Raises:
        VrmmError: landmarks of no face, or a loss that is not finite.
    """
    descent = Descent(model=model, rendering=rendering, recipe=recipe, bank=bank)
    best, tried = None, {}
    for start in possible_starts(model, rendering, views, recipe, bank, initializer)[: recipe.inversion.starts]:
        state, seen = start.make()
        found = descent.run(state, seen, progress, informed=start.informed)
        tried[start.name] = found.photo[-1]
        if best is None or found.photo[-1] < best.photo[-1]:
            best = found
        if best.photo[-1] <= recipe.inversion.enough:
            break
    assert best is not None
    return dataclasses.replace(best, starts=tried)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """Adam from one start."""

    model: VRMM
    rendering: RenderConfig
    recipe: FitRecipe
    bank: TrainingBank

    def run(self, state: FitState, views: Views, progress: Progress | None = None, *, informed: bool) -> Inversion:
        """From ``state``; ``informed`` as in ``starts.Start``. Raises VrmmError for a loss that is not finite."""
        config = self.recipe.inversion.led_by_landmarks(len(views), informed)
        recipe = dataclasses.replace(self.recipe, inversion=config)
        depth, guess = DepthPrior(state.solution(views), views), LightGuess(state.light) if informed else None
        terms = InversionTerms(self.model, self.rendering, recipe, self.bank, depth, guess)
        steps = config.informed(len(views)) if informed else config.steps
        coarse, switch = views.halved(), 0 if informed else round(config.coarse * steps)
        # Far from the solution the gradients turn too much for their directions to be learnt from.
        optimizer = ScheduledAdam(_groups(state, config, views, informed), steps, betas=SHORT, rotated=informed)
        history, photo = [], []
        for step in range(steps):
            loss = terms(state, coarse if step < switch else views, step / steps)
            photo.append(terms.photo)
            optimizer.step(loss, views)
            history.append(float(loss.detach()))
            if progress is not None:
                progress("inversion", step + 1, steps, history[-1])
        with torch.no_grad():
            terms(state, views, 1.0)
        return Inversion(solution=state.solution(views).detached(), losses=history, photo=[*photo, terms.photo])


class InversionTerms:
    """The objective of eq. 14 with the regularisers of the recipe. Final."""

    def __init__(
        self,
        model: VRMM,
        rendering: RenderConfig,
        recipe: FitRecipe,
        bank: TrainingBank,
        depth: DepthPrior,
        guess: LightGuess | None = None,
    ) -> None:
        self._model, self._rendering, self._recipe = model, rendering, recipe
        self._depth, self._guess = depth, guess
        self.photo = math.inf  # the picture's part of the last value
        self._carried, self._light = CarriedLandmarks(model), LightPrior(model.light_sphere, bank, recipe.inversion)

    def __call__(self, state: FitState, views: Views, progress: float) -> Float[Tensor, ""]:
        """The weighted sum; ``progress`` in [0, 1) fades the landmarks."""
        config = self._recipe.inversion
        solution = state.solution(views)
        rendered = render_solution(self._model, solution, self._rendering)
        total = photo_loss(rendered, views, self._recipe.losses)
        self.photo = float(total.detach())
        total = total + config.weights * (state.weights**2).sum() + config.expression * (state.z_e**2).mean()
        if self._guess is not None and config.light_guess > 0:
            total = total + config.light_guess * self._guess(state.light)
        total = total + self._light(state) + config.focal * (state.log_focal**2).sum()
        total = total + config.depth * self._depth(solution)
        distance = landmark_loss(self._carried(rendered.vertices), solution, views)
        lead = config.landmarks * max(0.0, 1.0 - progress / config.fade) if config.fade > 0 else 0.0
        return total + lead * distance + config.astray * (distance - config.slack).clamp(min=0.0)


def _groups(state: FitState, config: InversionConfig, views: Views, informed: bool) -> list[dict]:
    """The unknowns with their rates; larger ones where codes, light and pose are about right already."""
    codes, pose = (config.informed_rate, config.informed_pose_rate) if informed else (1.0, 1.0)
    groups = [
        {"block": "weights", "params": [state.weights], "lr": codes * config.lr_weights},
        {"block": "expression", "params": [state.z_e], "lr": codes * config.lr_expression},
        {"block": "light", "params": [state.raw_light], "lr": codes * config.lr_light},
        {"block": "pose", "params": [state.turn], "lr": pose * config.lr_turn},
        {"block": "pose", "params": [state.shift], "lr": pose * config.lr_shift},
    ]
    state.offset.requires_grad_(False)
    state.log_focal.requires_grad_(not views.focal_known)
    if not views.focal_known:
        groups.append({"block": "pose", "params": [state.log_focal], "lr": pose * config.lr_focal})
    return groups
