"""Fine-tuning (eq. 15): the decoders learn the person, held to the prior by locality regularisation."""

import copy
import dataclasses
import math

from jaxtyping import Float
from torch import Tensor, nn

from fitting.bank import TrainingBank
from fitting.expression_noise import ExpressionNoise
from fitting.inversion import Progress
from fitting.locality import Locality
from fitting.objective import DepthPrior, LightPrior, photo_loss
from fitting.optimizer import ScheduledAdam
from fitting.recipe import FinetuneConfig, FitRecipe
from fitting.rendering import render_solution
from fitting.state import FitState, Solution
from fitting.views import Views
from prior.render import RenderConfig
from prior.vrmm import VRMM

LANDING = 20
"""Steps in which the rates fall once the photos are explained."""
MEMORY = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuned:
    """The result of eq. 15.

    Attributes:
        model: a copy of the prior with tuned decoders.
        solution: the unknowns, refined.
        losses: the objective at every step.
        locality: L_LR at every step, unweighted; empty where it is switched off.
    """

    model: VRMM
    solution: Solution
    losses: list[float]
    locality: list[float]


def finetune(
    prior: VRMM,
    rendering: RenderConfig,
    views: Views,
    start: Solution,
    recipe: FitRecipe,
    bank: TrainingBank,
    progress: Progress | None = None,
) -> Finetuned:
    """Minimise eq. 15 with Adam from an inversion. Neither the prior nor the inversion is changed.

    Encoders and the table of training identities stay frozen.

    Raises:
        VrmmError: a loss that is not finite.
    """
    config, views = recipe.finetune, views.through(start.cameras.intrinsics)
    model, state = copy.deepcopy(prior), FitState.at_solution(prior, views, start)
    tuned = tuned_parameters(model, config)
    optimizer = ScheduledAdam(_groups(tuned, state, config, views), config.steps, config.clip, tuned)
    locality = Locality(prior, rendering, config.locality, recipe.losses, bank, recipe.seed)
    regularizer = FinetuneRegularizer(model, recipe, bank, DepthPrior(start, views))
    blurred, explained = ExpressionNoise(config.expression_noise, recipe.seed), EarlyStop(config.explained(len(views)))
    history, drift = [], []
    while optimizer.done < optimizer.last:
        solution = state.solution(views)
        photo = photo_loss(render_solution(model, blurred(solution), rendering), views, recipe.losses)
        if explained(float(photo.detach())):
            optimizer.finish_within(LANDING)
        loss = photo + regularizer(state, solution)
        if config.locality.weight > 0:
            kept = locality(model, solution)
            loss = loss + config.locality.among(len(views)) * kept
            drift.append(float(kept.detach()))
        optimizer.step(loss, views)
        history.append(float(loss.detach()))
        if progress is not None:
            progress("fine-tuning", optimizer.done, optimizer.last, history[-1])
    return Finetuned(
        model=model.requires_grad_(False), solution=state.solution(views).detached(), losses=history, locality=drift
    )


class EarlyStop:
    """Whether the photos are explained: what is left of their loss is noise, and to learn it costs other views. Final.

    Args:
        enough: picture loss at which they are, in the mean over about the last ``1 / MEMORY`` steps; 0 for never.
    """

    def __init__(self, enough: float) -> None:
        self._enough, self._mean = enough, math.inf

    def __call__(self, loss: float) -> bool:
        """After another step's picture loss."""
        self._mean = loss if self._mean == math.inf else self._mean + MEMORY * (loss - self._mean)
        return self._mean <= self._enough


class FinetuneRegularizer:
    """lambda_id and lambda_exp of eq. 15, and what is usual for light and lens as in the inversion."""

    def __init__(self, model: VRMM, recipe: FitRecipe, bank: TrainingBank, depth: DepthPrior) -> None:
        self._finetune, self._inversion = recipe.finetune, recipe.inversion
        self._depth = depth
        self._light = LightPrior(model.light_sphere, bank, recipe.inversion)

    def __call__(self, state: FitState, solution: Solution) -> Float[Tensor, ""]:
        return (
            self._finetune.identity * (state.offset**2).sum()
            + self._finetune.expression * (state.z_e**2).mean()
            + self._light(state)
            + self._inversion.depth * self._depth(solution)
            + self._inversion.focal * (state.log_focal**2).sum()
        )


def tuned_parameters(model: VRMM, config: FinetuneConfig) -> list[nn.Parameter]:
    """The weights theta; all others are frozen."""
    decoders = {
        "mesh": model.mesh_decoder,
        "identity": model.identity_decoder,
        "transform": model.transform_decoder,
        "opacity": model.opacity_decoder,
        "appearance": model.appearance_decoder,
    }
    model.requires_grad_(False)
    for name in config.decoders:
        for parameter_name, parameter in decoders[name].named_parameters():
            parameter.requires_grad_(config.texel_parameters or not _of_texels(parameter_name, parameter))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _of_texels(name: str, parameter: nn.Parameter) -> bool:
    """A bias for every texel or voxel: it can follow the noise of one photo, which shared weights cannot."""
    return name.endswith("bias") and parameter.ndim > 1


def _groups(tuned: list[nn.Parameter], state: FitState, config: FinetuneConfig, views: Views) -> list[dict]:
    pairs = [
        (state.offset, config.lr_identity),
        (state.z_e, config.lr_expression),
        (state.raw_light, config.lr_light),
        (state.turn, config.lr_turn),
        (state.shift, config.lr_shift),
        (state.log_focal, 0.0 if views.focal_known else config.lr_focal),
    ]
    state.requires_grad_(False)
    groups = [{"params": tuned, "lr": config.lr}] if tuned else []
    for parameter, rate in pairs:
        if rate > 0:
            parameter.requires_grad_(True)
            groups.append({"params": [parameter], "lr": rate})
    return groups
