"""Adam as both stages of a fit use it: rates that fall along a cosine, a bound on the networks' gradient, no NaN."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datasets.errors import VrmmError
from fitting.rotated_adam import RotatedAdam
from fitting.views import Views

FINAL_RATE = 0.05
"""Share of the first rate that is left at the last step."""
LONG, SHORT = (0.9, 0.98), (0.8, 0.95)
"""Decays of the mean gradient and of its squares: for the small rates of networks, and for large ones of some codes,
which a long memory carries too far."""


class ScheduledAdam:
    """Final.

    Args:
        groups: parameters with their first rates, as for ``torch.optim.Adam``.
        steps: over which the rates fall.
        clip: largest norm of the gradient of ``clipped``; 0 for none.
        clipped: the parameters that it bounds.
        betas: decays of the running means.
        rotated: walk as ``RotatedAdam`` does; the groups then name their ``block``.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        steps: int,
        clip: float = 0.0,
        clipped: Sequence[nn.Parameter] = (),
        *,
        betas: tuple[float, float] = LONG,
        rotated: bool = False,
    ) -> None:
        self._adam = RotatedAdam(groups, betas) if rotated else torch.optim.Adam(groups, betas=betas, fused=True)
        self._rates = [group["lr"] for group in self._adam.param_groups]
        self._clip, self._clipped = clip, clipped
        self._first, self._begun, self._last, self._done = 1.0, 0, steps, 0

    @property
    def done(self) -> int:
        """Steps taken."""
        return self._done

    @property
    def last(self) -> int:
        """Steps after which the rates have fallen."""
        return self._last

    def finish_within(self, steps: int) -> None:
        """From here, let the rates fall in so many steps, if more are left."""
        if self._last - self._done > steps:
            self._first, self._begun, self._last = self._share(), self._done, self._done + steps

    def _share(self) -> float:
        """Of the first rates, at this step."""
        progress = (self._done - self._begun) / (self._last - self._begun)
        return FINAL_RATE + (self._first - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def step(self, loss: Float[Tensor, ""], views: Views) -> None:
        """Backward and step. Raises VrmmError, naming the photos, for a loss that is not finite."""
        if not math.isfinite(float(loss.detach())):
            raise VrmmError(f"the fit of {', '.join(views.names)} left the finite numbers; lower the recipe's rates")
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._share()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        if self._clip > 0 and self._clipped:
            nn.utils.clip_grad_norm_(self._clipped, self._clip)
        self._adam.step()
        self._done += 1
