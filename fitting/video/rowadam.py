"""Adam for tables of which a step sees a few rows: a row that is not seen stands still, moments and all."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

BETAS = (0.9, 0.98)
EPSILON = 1e-8


class RowAdam:
    """Kingma and Ba's Adam (2015) with a step count for each row. Final.

    Args:
        shapes: of the tables by name, rows first.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._state: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            self._state[f"{name}.first"] = torch.zeros(shape)
            self._state[f"{name}.second"] = torch.zeros(shape)
            self._state[f"{name}.count"] = torch.zeros(shape[0])

    def direction(self, name: str, rows: Int[Tensor, "B"], gradient: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """How a step of rate 1 changes these rows, which are all different."""
        first, second, count = (self._state[f"{name}.{part}"] for part in ("first", "second", "count"))
        count[rows] += 1.0
        first[rows] = BETAS[0] * first[rows] + (1.0 - BETAS[0]) * gradient
        second[rows] = BETAS[1] * second[rows] + (1.0 - BETAS[1]) * gradient**2
        times = count[rows].reshape(-1, *[1] * (gradient.ndim - 1))
        mean = first[rows] / (1.0 - BETAS[0] ** times)
        spread = (second[rows] / (1.0 - BETAS[1] ** times)).sqrt()
        return -mean / (spread + EPSILON)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return dict(self._state)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, value in self._state.items():
            value.copy_(tensors[name])
