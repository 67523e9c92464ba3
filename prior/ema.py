"""Exponential moving average of the weights: what a run leaves is steadier than its last step."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

FILE = "ema.pt"


class WeightAverage:
    """The average of a module's parameters over training. Final.

    Args:
        module: whose parameters are averaged; every rank has the same.
        decay: of an update; the first updates count more, as in ``min(decay, (1 + n) / (10 + n))``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._parameters = list(module.parameters())
        self._decay, self._updates = decay, 0
        self._average = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1.0 - decay)
        self._updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the averaged parameters."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self._average)
        try:
            yield
        finally:
            self._set(own)

    def save(self, checkpoint: Path) -> None:
        """Write the average into a checkpoint's folder."""
        torch.save({"updates": self._updates, "average": self._average}, checkpoint / FILE)

    def load(self, checkpoint: Path) -> None:
        """Read it again; a checkpoint without an average starts one from the weights."""
        path = checkpoint / FILE
        if not path.exists():
            self._average = [parameter.detach().clone() for parameter in self._parameters]
            return
        state = torch.load(path, weights_only=True)
        self._updates = int(state["updates"])
        for own, saved in zip(self._average, cast(list[Tensor], state["average"]), strict=True):
            own.copy_(saved)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
