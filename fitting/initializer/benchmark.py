"""What the initializer is worth: steps of an inversion from it, against steps from the mean."""

import dataclasses
from collections.abc import Sequence

from fitting.inversion import Inversion

TOLERANCE = 1.02
"""A loss counts as reached where it is at most so many times the wanted one: the last steps hardly change it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepsSaved:
    """One photo set, from both starts.

    Attributes:
        target: picture loss that the inversion from the mean ended with.
        mean_steps, informed_steps: after which it was reached first; None where it never was.
    """

    target: float
    mean_steps: int
    informed_steps: int | None

    @property
    def ratio(self) -> float | None:
        """Steps from the initializer over steps from the mean; None where the loss was not reached."""
        return None if self.informed_steps is None else self.informed_steps / max(self.mean_steps, 1)


def compare_steps(mean: Inversion, informed: Inversion, coarse: int) -> StepsSaved:
    """Both inversions of one photo set; the first ``coarse`` steps from the mean are of half the resolution."""
    target = mean.photo[-1]
    return StepsSaved(
        target=target,
        mean_steps=_first(mean.photo, TOLERANCE * target, coarse) or 0,
        informed_steps=_first(informed.photo, TOLERANCE * target, 0),
    )


def _first(losses: Sequence[float], wanted: float, begin: int) -> int | None:
    return next((step for step in range(begin, len(losses)) if losses[step] <= wanted), None)
