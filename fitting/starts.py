"""Where an inversion can begin; a worse one is tried only when the loss says that a better one failed."""

import dataclasses
import math
from collections.abc import Callable

import torch

from fitting.bank import TrainingBank
from fitting.initializer.start import start_from_network
from fitting.initializer.storage import Initializer
from fitting.light_level import LightLevel
from fitting.objective import input_level, photo_loss
from fitting.pose import initial_pose
from fitting.recipe import Expressions, FitRecipe
from fitting.rendering import render_solution
from fitting.state import FitState
from fitting.views import Views
from prior.render import RenderConfig
from prior.vrmm import VRMM

USUAL_LIGHT = 1.0
"""The network's light is held so near to the brightness of the training frames, in its standard deviations: matched to
the photo, a wrong skin tone would make it too bright or too dark for the objective."""
LOOK_ALIKES = 32
"""Training identities that are looked at, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """One way to begin.

    Attributes:
        name: ``network``, ``mean`` or ``look-alike``.
        informed: codes and light are about right already, so that nothing needs to be coarse or led by landmarks.
        make: gives the unknowns, and the views through the lenses that were found.
    """

    name: str
    informed: bool
    make: Callable[[], tuple[FitState, Views]]


def possible_starts(
    model: VRMM,
    rendering: RenderConfig,
    views: Views,
    recipe: FitRecipe,
    bank: TrainingBank,
    initializer: Initializer | None,
) -> list[Start]:
    """The most promising first: what the network says, the mean identity, the most similar training identity."""

    def from_network() -> tuple[FitState, Views]:
        assert initializer is not None
        state, seen = start_from_network(initializer.network, model, views, recipe.expressions)
        if bank.has_lights:
            mean, spread = LightLevel(model.light_sphere, bank).given(state.light)
            state.level.clamp_(math.exp(mean - USUAL_LIGHT * spread), math.exp(mean + USUAL_LIGHT * spread))
            return state, seen
        return _as_bright(state, seen, model, rendering), seen

    def from_mean() -> tuple[FitState, Views]:
        return mean_start(model, rendering, views, recipe, bank)

    def from_look_alike() -> tuple[FitState, Views]:
        state, seen = from_mean()
        return _look_alike(state, seen, model, rendering, recipe), seen

    starts = [
        Start(name="network", informed=True, make=from_network),
        Start(name="mean", informed=False, make=from_mean),
        Start(name="look-alike", informed=False, make=from_look_alike),
    ]
    return starts if initializer is not None else starts[1:]


def mean_start(
    model: VRMM, rendering: RenderConfig, views: Views, recipe: FitRecipe, bank: TrainingBank
) -> tuple[FitState, Views]:
    """Mean identity and expression, uniform light, the pose of PnP; and the views through the lenses it found.

    Raises:
        VrmmError: landmarks of no face.
    """
    pose = initial_pose(views, model.template_landmarks.numpy().astype("float64"))
    views = views.through(torch.tensor(pose.intrinsics.tolist()))
    state = FitState.at_pose(model, views, pose)
    if recipe.expressions is Expressions.each:
        state.each_expression(len(views))
    if bank.has_lights:
        state.level.fill_(math.exp(LightLevel(model.light_sphere, bank).given(state.light)[0]))
        return state, views
    return _as_bright(state, views, model, rendering), views


@torch.no_grad()
def _as_bright(state: FitState, views: Views, model: VRMM, rendering: RenderConfig) -> FitState:
    """The same with so much light that the head is as bright as in the photos."""
    state.level.mul_(input_level(render_solution(model, state.solution(views), rendering), views))
    return state


@torch.no_grad()
def _look_alike(state: FitState, views: Views, model: VRMM, rendering: RenderConfig, recipe: FitRecipe) -> FitState:
    """The same with the training identity, and the light's level, that come nearest to the photos."""
    small = views.halved()
    count = len(state.weights)
    best, level = math.inf, state.level.clone()
    chosen = state.weights.clone()
    for number in torch.linspace(0, count - 1, min(count, LOOK_ALIKES)).round().long().tolist():
        state.level.copy_(level)
        state.weights.fill_(-1.0 / count)
        state.weights[number] += 1.0
        _as_bright(state, small, model, rendering)
        loss = float(photo_loss(render_solution(model, state.solution(small), rendering), small, recipe.losses))
        if loss < best:
            best, chosen, brightest = loss, state.weights.clone(), state.level.clone()
    state.weights.copy_(chosen)
    state.level.copy_(brightest)
    return state
