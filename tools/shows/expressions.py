"""Which face a show's heads make, and how they move."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Pose
from datasets.errors import VrmmError
from prior.animation import AnimationCurve
from prior.motion import resampled
from tools.shows.people import Person

SECONDS_PER_EXPRESSION = 1.25


class Performance(ABC):
    """Expression and pose over a show."""

    @abstractmethod
    def expression(self, person: Person, place: float) -> Float[Tensor, "1 E"]:
        """z_e at ``place`` in [0, 1)."""

    def pose(self, person: Person, place: float) -> Pose:
        """Head→world at ``place``."""
        return person.pose


class Rest(Performance):
    """Each person's own rest. Final."""

    def expression(self, person: Person, place: float) -> Float[Tensor, "1 E"]:
        return person.z_e


class AsInThePhoto(Performance):
    """The expression that an avatar was fitted with. Final."""

    def expression(self, person: Person, place: float) -> Float[Tensor, "1 E"]:
        if person.photo_expression is None:
            raise VrmmError(f"{person.name} is no avatar: there is no photo with an expression; use another one")
        return person.photo_expression


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wander(Performance):
    """From rest through random expressions and back to rest, the same for everyone of one prior.

    Attributes:
        codes: [M, E] to visit.
    """

    codes: Float[Tensor, "M E"]

    @staticmethod
    def drawn(person: Person, seconds: float, *, temperature: float, seed: int) -> "Wander":
        """As many random expressions as there is time for."""
        count = max(1, round(seconds / SECONDS_PER_EXPRESSION) - 1)
        return Wander(codes=person.expressions(count, temperature=temperature, seed=seed))

    def expression(self, person: Person, place: float) -> Float[Tensor, "1 E"]:
        stops = torch.cat([person.z_e, self.codes])
        where = place * len(stops)
        index, share = int(where) % len(stops), where - int(where)
        return torch.lerp(stops[index], stops[(index + 1) % len(stops)], share * share * (3.0 - 2.0 * share))[None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Played(Performance):
    """An animation curve, on anyone.

    Attributes:
        curve: as long as the show.
        moving: whether the head moves with it.
    """

    curve: AnimationCurve
    moving: bool = True

    @staticmethod
    def fitting(curve: AnimationCurve, fps: float, seconds: float | None, *, moving: bool = True) -> "Played":
        """The curve at a show's rate, cut to its length."""
        return Played(curve=resampled(curve, fps, seconds), moving=moving)

    def expression(self, person: Person, place: float) -> Float[Tensor, "1 E"]:
        wanted = person.model.config.expression
        if self.curve.expression.shape[1] != wanted:
            raise VrmmError(
                f"the animation curve has expression codes of length {self.curve.expression.shape[1]}, but those of "
                f"{person.name} have {wanted}; it belongs to another prior"
            )
        return self.curve.expression[self._moment(place)][None]

    def pose(self, person: Person, place: float) -> Pose:
        if not self.moving:
            return person.pose
        moment = self._moment(place)
        turn = self.curve.rotation[moment].double().numpy()
        return Pose(
            rotation=turn @ person.pose.rotation,
            translation=turn @ person.pose.translation + self.curve.translation[moment].double().numpy(),
        )

    def _moment(self, place: float) -> int:
        return min(round(place * len(self.curve)), len(self.curve) - 1)


def check_performance(performance: Performance, people: Sequence[Person]) -> None:
    """Raises VrmmError, before anything is rendered, where someone cannot perform."""
    for person in people:
        performance.expression(person, 0.0)


def moments(seconds: float, fps: float) -> int:
    """Frames of a show. Raises VrmmError for a length or a rate that is not positive."""
    if not (seconds > 0 and fps > 0 and np.isfinite(seconds) and np.isfinite(fps)):
        raise VrmmError(f"--seconds and --fps must be positive, not {seconds:g} and {fps:g}")
    return max(1, round(seconds * fps))
