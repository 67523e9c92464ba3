"""Adam in rotated directions: what it gains in valleys across the axes, what blocks are, and that it stays calm."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from datasets.errors import VrmmError
from fitting.optimizer import SHORT, ScheduledAdam
from fitting.rotated_adam import RotatedAdam
from tests.fitting.tiny import blank_views, cameras

TURN = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))[0]
STEEP = torch.logspace(0, 3, 12)


def valley(x: Tensor) -> Tensor:
    """A quadratic whose axes are none of the coordinates', a thousand times as steep in one as in another."""
    return 0.5 * (STEEP * (TURN @ (x.flatten() - 1.0)) ** 2).sum()


def descend(optimizer: Optimizer, parameter: nn.Parameter, steps: int) -> float:
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.3 * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        valley(parameter).backward()
        optimizer.step()
    return float(valley(parameter).detach())


def test_valleys_across_the_axes_are_walked_along() -> None:
    axes, rotated = (nn.Parameter(torch.zeros(12)) for _ in range(2))
    plain = descend(Adam([axes], betas=SHORT), axes, 80)
    found = descend(RotatedAdam([{"params": [rotated], "lr": 0.3, "block": "all"}], SHORT), rotated, 80)
    assert found < plain / 10


def test_a_block_is_one_vector_in_units_of_its_rates() -> None:
    """Turn and shift as two groups, or one parameter that is both, make the same steps."""
    torch.manual_seed(1)
    whole = nn.Parameter(torch.zeros(6))
    turn, shift = nn.Parameter(torch.zeros(1, 3)), nn.Parameter(torch.zeros(1, 3))
    one = RotatedAdam([{"params": [whole], "lr": 0.1, "block": "pose"}])
    two = RotatedAdam(
        [{"params": [turn], "lr": 0.1, "block": "pose"}, {"params": [shift], "lr": 0.02, "block": "pose"}]
    )
    for _ in range(5):
        gradient = torch.randn(6)
        whole.grad = gradient * torch.tensor([1.0] * 3 + [0.2] * 3)
        turn.grad, shift.grad = gradient[None, :3].clone(), gradient[None, 3:].clone()
        one.step()
        two.step()
    torch.testing.assert_close(turn[0], whole[:3])
    torch.testing.assert_close(shift[0], 0.2 * whole[3:])  # a fifth of the unit


def test_the_longer_side_is_rotated() -> None:
    """A matrix and its transpose make the same steps."""
    tall, wide = nn.Parameter(torch.zeros(12, 3)), nn.Parameter(torch.zeros(3, 12))
    optimizers = [RotatedAdam([{"params": [p], "lr": 0.1, "block": "light"}]) for p in (tall, wide)]
    for seed in range(3):
        tall.grad = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed))
        wide.grad = tall.grad.T.contiguous()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(tall, wide.T)
    assert optimizers[1].state[wide]["products"].shape == (12, 12)


def test_steps_are_as_long_as_the_rate_says() -> None:
    """Directions without a gradient stand still, the one with it moves by the rate as Adam's would."""
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = RotatedAdam([{"params": [parameter], "lr": 0.1, "block": "one"}])
    for step in range(1, 6):
        parameter.grad = torch.tensor([3.0, 0.0, 4.0, 0.0])
        optimizer.step()
        assert float(parameter.detach().norm()) == pytest.approx(0.1 * step, rel=0.02)  # DAMPING shortens by 1 %
    assert float(parameter[1].detach().abs()) < 1e-6
    before = parameter.detach().clone()
    parameter.grad = None
    optimizer.step()
    parameter.grad = torch.ones(4)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert torch.equal(parameter.detach(), before)


def test_no_gradient_at_all_is_no_step() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = RotatedAdam([{"params": [parameter], "lr": 0.1, "block": "one"}])
    parameter.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(3))


def test_what_is_not_finite_is_said_by_the_next_loss() -> None:
    views = blank_views(cameras((0.0,)), placed=True)
    parameter = nn.Parameter(torch.ones(3))
    optimizer = ScheduledAdam([{"params": [parameter], "lr": 0.1, "block": "one"}], 10, rotated=True)
    optimizer.step((parameter.sum() - 3.0).sqrt(), views)  # 0, with a gradient of infinity
    with pytest.raises(VrmmError, match="left the finite numbers"):
        optimizer.step((parameter.sum() - 3.0).sqrt(), views)
