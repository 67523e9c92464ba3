"""Muon (Jordan et al. 2024) for the matrices inside networks, AdamW for everything else."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.blocks import CodeStem, Pointwise
from prior.decoders.deconvolution import Deconvolution

MOMENTUM = 0.95
LEAST_SIDE = 16
"""Matrices with fewer rows or columns are answers, such as the nine numbers of a primitive: AdamW's."""
ROUNDS = 5
STEEP = (3.4445, -4.775, 2.0315)
"""Odd polynomial a s + b s³ + c s⁵ that, applied five times, takes singular values of 0.01 to 1 to about 1."""


class MuonAdamW(torch.optim.AdamW):
    """One optimiser for both kinds of parameters. Final.

    A group with ``muon`` > 0 takes steps along the momentum with all singular values made alike, so that directions
    that seldom have a large gradient are learnt as fast as the others. Their root mean square is ``muon · lr``
    (Liu et al. 2025, Section 2.2), so that one learning rate suits both. All other groups are AdamW's.

    Args:
        groups: as of ``torch.optim.AdamW``, with ``muon`` where it is not 0.
        lr, betas: of AdamW.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__([{"muon": 0.0, **group} for group in groups], lr=lr, betas=betas, fused=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also of runs that began before there was Muon."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("muon", 0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step with the gradients that are there, or that ``closure`` makes."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = [
            (group, parameter)
            for group in self.param_groups
            for parameter in group["params"]
            if group["muon"] > 0 and parameter.grad is not None
        ]
        for group, parameter in matrices:
            assert parameter.grad is not None
            direction = orthogonalized(self._with_momentum(parameter, parameter.grad).flatten(0, -2))
            rate = group["lr"] * group["muon"] * math.sqrt(max(direction.shape))
            parameter.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(direction.view_as(parameter), alpha=-rate)
            parameter.grad = None  # AdamW passes over it
        super().step()
        return loss

    def _with_momentum(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """Nesterov's momentum."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # torch's Adam expects every state to have one
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        return gradient.lerp(state["momentum"].lerp_(gradient, 1.0 - MOMENTUM), MOMENTUM)


def orthogonalized(matrix: Float[Tensor, "N M"]) -> Float[Tensor, "N M"]:
    """``matrix`` with its singular values brought to about 1 (0.7 to 1.2) by Newton–Schulz iterations.

    They are done on the product of the matrix with itself, which is no larger than its shorter side.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    tall = tall / tall.norm().clamp(min=1e-12)
    gram = tall.T @ tall
    factor = identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    linear, cubic, quintic = STEEP
    for _ in range(ROUNDS):
        square = factor @ gram @ factor
        factor = factor @ (linear * identity + cubic * square + quintic * square @ square)
    tall = tall @ factor
    return tall if matrix.shape[0] >= matrix.shape[1] else tall.T


def inner_matrices(module: nn.Module) -> list[nn.Parameter]:
    """Weights between the feature maps of the decoders: what ``MuonAdamW`` may treat as matrices.

    As [..., outputs] they are matrices once all leading dimensions are one.
    """
    found = []
    for part in module.modules():
        if isinstance(part, (Deconvolution, Pointwise)):
            found.append(part.weight)
        elif isinstance(part, CodeStem):
            found.append(part.linear.weight)
    return [weight for weight in found if min(weight.flatten(0, -2).shape) >= LEAST_SIDE]
