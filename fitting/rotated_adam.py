"""Adam in the directions in which gradients vary: SOAP (Vyas et al. 2024), for the few hundred unknowns of a fit."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

DAMPING = 0.01
"""Share of the largest root mean square of the rotated gradients that is added to each: directions in which there is
next to no gradient are not walked at full rate."""


class RotatedAdam(Optimizer):
    """Adam whose running squares belong to the eigenvectors of the gradients' running outer product. Final.

    Unknowns that explain the same (turn and shift, the lamps of one side) have long narrow valleys across their axes,
    along which Adam of the axes creeps. Groups that name the same ``block`` are one vector in units of their rates; a
    block of one parameter with two dimensions is rotated along the longer of them only.

    Args:
        groups: as for ``torch.optim.Adam``, with ``lr``, and ``block``: a name.
        betas: decay of the mean gradient, and of its squares and outer products.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float] = (0.8, 0.95)) -> None:
        super().__init__(groups, {"betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step from the gradients; a ``closure`` is not called."""
        blocks: dict[str, list[dict[str, Any]]] = {}
        for group in self.param_groups:
            blocks.setdefault(group["block"], []).append(group)
        for groups in blocks.values():
            largest = max(group["lr"] for group in groups)
            if largest == 0.0:
                continue
            parts = [(p, group["lr"] / largest) for group in groups for p in group["params"] if p.grad is not None]
            if parts:
                self._walk(parts, largest, groups[0]["betas"])

    def _walk(self, parts: Sequence[tuple[Tensor, float]], rate: float, betas: tuple[float, float]) -> None:
        """One block: its parameters with their rates in units of the largest."""
        gradient = _as_matrix([p.grad * unit for p, unit in parts if p.grad is not None])
        state = self.state[parts[0][0]]
        if not state:
            square = gradient.new_zeros(len(gradient), len(gradient))
            state |= {"step": 0, "mean": torch.zeros_like(gradient), "squares": torch.zeros_like(gradient)}
            state["products"] = square
        state["step"] += 1
        _blend(state["mean"], gradient, betas[0])
        _blend(state["products"], gradient @ gradient.T, betas[1])
        basis = _eigenvectors(state["products"])
        _blend(state["squares"], (basis.T @ gradient) ** 2, betas[1])
        mean = basis.T @ state["mean"] / (1.0 - betas[0] ** state["step"])
        size = (state["squares"] / (1.0 - betas[1] ** state["step"])).sqrt()
        move = basis @ (mean / (size + DAMPING * size.max()).clamp(min=torch.finfo(size.dtype).tiny))
        for (p, unit), part in zip(parts, _like(move, [p for p, _ in parts]), strict=True):
            p.sub_(part, alpha=rate * unit)


def _blend(running: Tensor, value: Tensor, beta: float) -> None:
    running.mul_(beta).add_(value, alpha=1.0 - beta)


def _eigenvectors(products: Float[Tensor, "R R"]) -> Float[Tensor, "R R"]:
    """As columns; the axes for what is not finite, so that the parameters, and the next loss, are not either."""
    if not bool(products.isfinite().all()):
        return torch.eye(len(products)).to(products)
    return torch.linalg.eigh(products.double())[1].to(products)


def _as_matrix(values: Sequence[Tensor]) -> Float[Tensor, "R C"]:
    """One parameter with its longer dimension down; several, or one of other than two dimensions, as a column."""
    if len(values) == 1 and values[0].ndim == 2:
        return values[0] if _stands(values[0]) else values[0].T
    return torch.cat([value.flatten() for value in values])[:, None]


def _like(matrix: Float[Tensor, "R C"], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parts of ``_as_matrix``, in the parameters' shapes."""
    if len(parameters) == 1 and parameters[0].ndim == 2:
        return [matrix if _stands(parameters[0]) else matrix.T]
    parts = matrix.flatten().split([p.numel() for p in parameters])
    return [part.reshape(p.shape) for part, p in zip(parts, parameters, strict=True)]


def _stands(matrix: Tensor) -> bool:
    return matrix.shape[0] >= matrix.shape[1]
