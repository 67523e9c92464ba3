"""The unknowns of a video: one identity and light, an expression and a head pose for every frame."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.optimizer import FINAL_RATE
from fitting.recipe import VideoConfig
from fitting.state import FitState, Solution
from fitting.video.rowadam import RowAdam
from fitting.views import Views
from prior.animation import AnimationCurve
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM

SHARED = ("weights", "offset", "raw_light")
MOVING = ("z_e", "turn", "shift")
UNKNOWNS = (*SHARED, *MOVING)


@dataclasses.dataclass(kw_only=True)
class VideoState:
    """Values that a fit changes in place.

    Attributes:
        weights, offset, raw_light, level: as in ``FitState``.
        light_rotation: as in ``Solution``.
        z_e: [T, E].
        rotation, translation: [T, 3, 3] and [T, 3] head→world.
    """

    weights: Float[Tensor, "N"]
    offset: Float[Tensor, "1 I"]
    raw_light: Float[Tensor, "L 3"]
    level: Float[Tensor, ""]
    light_rotation: Float[Tensor, "3 3"] | None
    z_e: Float[Tensor, "T E"]
    rotation: Float[Tensor, "T 3 3"]
    translation: Float[Tensor, "T 3"]

    @staticmethod
    def of(model: VRMM, views: Views, first: Solution, track: "Track") -> "VideoState":
        """The first frame's identity and light with the poses and expressions of all frames.

        Args:
            model: the prior.
            views: the first frame.
            first: its inversion, with its light's rotation.
            track: of all frames.
        """
        start = FitState.at_solution(model, views, first)
        return VideoState(
            weights=start.weights.detach().clone(),
            offset=start.offset.detach().clone(),
            raw_light=start.raw_light.detach().clone(),
            level=start.level.clone(),
            light_rotation=first.light_rotation,
            z_e=track.z_e.clone(),
            rotation=track.rotation.clone(),
            translation=track.translation.clone(),
        )

    def __len__(self) -> int:
        return len(self.z_e)

    def batch(self, model: VRMM, views: Views, rows: Int[Tensor, "B"]) -> FitState:
        """Some frames as parameters, whose pose increments begin at zero."""
        config = model.config
        state = FitState(model.identity_codes.weight, config.expression, config.light_directions, len(rows), len(views))
        state.each_expression(len(rows))
        state.level.copy_(self.level)
        state.first_rotation.copy_(self.rotation[rows])
        state.first_translation.copy_(self.translation[rows])
        state.light_rotation = self.light_rotation
        with torch.no_grad():
            state.weights.copy_(self.weights)
            state.offset.copy_(self.offset)
            state.raw_light.copy_(self.raw_light)
            state.z_e.copy_(self.z_e[rows])
        return state

    def solution(self, model: VRMM, views: Views, rows: Sequence[int]) -> Solution:
        """Some frames as a solution."""
        return self.batch(model, views, torch.tensor(list(rows))).solution(views).detached()

    def curve(self, fps: float) -> AnimationCurve:
        """Expression and head motion of all frames."""
        left, _, right = np.linalg.svd(self.rotation.double().numpy())  # products of rotations are so up to rounding
        return AnimationCurve(
            expression=self.z_e.detach().float(),
            rotation=torch.from_numpy(left @ right).float(),
            translation=self.translation.detach().float(),
            fps=fps,
        )

    def copy(self) -> "VideoState":
        """One that can be changed apart."""
        parts = {name: value.clone() for name, value in self.tensors().items()}
        return dataclasses.replace(self, **parts)

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, for a checkpoint."""
        return {name: getattr(self, name) for name in (*SHARED, "z_e", "rotation", "translation")}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """T frames followed one by one: z_e [T, E], head→world [T, 3, 3] and [T, 3]."""

    z_e: Float[Tensor, "T E"]
    rotation: Float[Tensor, "T 3 3"]
    translation: Float[Tensor, "T 3"]


class VideoOptimizer:
    """Steps the unknowns of the frames that a step has seen, and the shared ones. Final.

    Args:
        state: whose values are changed.
        rates: first rates by unknown (``UNKNOWNS``); 0 leaves it as it is.
        steps: over which the rates fall along a cosine, as in ``ScheduledAdam``.
    """

    def __init__(self, state: VideoState, rates: Mapping[str, float], steps: int) -> None:
        count = len(state)
        shapes = {name: (1, *getattr(state, name).shape) for name in SHARED}
        shapes |= {"z_e": tuple(state.z_e.shape), "turn": (count, 3), "shift": (count, 3)}
        self.adam = RowAdam(shapes)
        self._state, self._rates, self._steps = state, dict(rates), steps

    def prepare(self, batch: FitState) -> None:
        """Let gradients reach what is stepped, and nothing else."""
        batch.requires_grad_(False)
        for name in UNKNOWNS:
            getattr(batch, name).requires_grad_(self._rates[name] > 0)

    @torch.no_grad()
    def step(self, done: int, rows: Int[Tensor, "B"], batch: FitState) -> None:
        """After backward, with ``done`` steps before this one."""
        share = FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * done / self._steps))
        state, only = self._state, torch.tensor([0])
        for name in UNKNOWNS:
            gradient, rate = getattr(batch, name).grad, share * self._rates[name]
            if rate == 0 or gradient is None:
                continue
            if name in SHARED:
                getattr(state, name).add_(rate * self.adam.direction(name, only, gradient[None])[0])
                continue
            change = rate * self.adam.direction(name, rows, gradient)
            if name == "z_e":
                state.z_e[rows] += change
            elif name == "turn":
                state.rotation[rows] = state.rotation[rows] @ rotation_from_axis_angle(change)
            else:
                state.translation[rows] += change


def drawn_rows(seed: int, step: int, batch: int, count: int) -> Int[Tensor, "B"]:
    """The frames of a step: every frame once, in another order each time, as a function of seed and step alone."""
    per_round = -(-count // batch)
    round_number, place = divmod(step, per_round)
    generator = torch.Generator().manual_seed((seed << 20) + round_number)
    return torch.randperm(count, generator=generator)[place * batch : (place + 1) * batch]


def smoothness(state: VideoState, solution: Solution, rows: Int[Tensor, "B"], config: VideoConfig) -> Float[Tensor, ""]:
    """How far frames are from the middle between their neighbours, weighted: trembling costs, steady motion does not.

    The neighbours stand still; they are moved when it is their turn.
    """
    if len(state) == 1:
        return solution.z_e.new_zeros(())
    before = torch.where(rows > 0, rows - 1, torch.ones_like(rows))
    after = torch.where(rows < len(state) - 1, rows + 1, torch.full_like(rows, len(state) - 2))

    def away(values: Tensor, all_values: Tensor) -> Float[Tensor, "B D"]:
        middle = 0.5 * (all_values[before] + all_values[after])
        return ((values - middle) ** 2).flatten(1)

    expression = away(solution.z_e, state.z_e).mean()
    turn = 0.5 * away(solution.rotation, state.rotation).sum(dim=1).mean()  # the squared angle, if small
    shift = away(solution.translation, state.translation).sum(dim=1).mean()
    return config.smooth_expression * expression + config.smooth_turn * turn + config.smooth_shift * shift
