"""Rendering of a solution: gradients of pose and lens are those of the picture."""

import dataclasses

import pytest
import torch
from torch import Tensor

from fitting.rendering import render_solution
from fitting.state import FitState, Solution
from prior.primitives import rotation_from_axis_angle
from prior.render import RenderConfig, render_head
from prior.vrmm import VRMM
from tests.fitting.conftest import Known, photograph
from tests.fitting.tiny import RENDERING, blank_views, cameras


def test_it_is_the_renderer_of_the_prior(known: Known) -> None:
    solution = known.solution
    one = render_head(
        known.model,
        solution.z_id,
        solution.z_e,
        solution.light[None],
        solution.rotation[:1],
        solution.translation[:1],
        solution.cameras,
        RENDERING,
    )
    # The head is moved before its cameras' rays are cut, so sums are rounded in another order.
    torch.testing.assert_close(render_solution(known.model, solution, RENDERING).image, one.image[0], atol=2e-4, rtol=0)


def test_an_expression_for_each_view_equals_a_shared_one(known: Known) -> None:
    each = dataclasses.replace(known.solution, z_e=known.solution.z_e.expand(2, -1))
    shared = render_solution(known.model, known.solution, RENDERING)
    torch.testing.assert_close(render_solution(known.model, each, RENDERING).image, shared.image, atol=1e-4, rtol=0)


FINE = RenderConfig(step=0.001)
"""Differences of a picture are those of the head only where samples are much closer than primitives are thick."""


def _weighted(alpha: Tensor, which: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return (alpha[0, 0] * (x, y, (x - 16) ** 2 + (y - 16) ** 2)[which]).sum()


@pytest.mark.parametrize(
    ("parameter", "moment", "step", "tolerance"),
    [("x", 0, 1e-4, 0.05), ("y", 1, 1e-4, 0.05), ("focal", 2, 1e-3, 0.25)],
)
def test_gradients_agree_with_differences(
    model: VRMM, parameter: str, moment: int, step: float, tolerance: float
) -> None:
    """The lens acts through the places of the primitives and their mean size: its gradient is good to a quarter."""
    base = photograph(model, (0.0,)).solution

    def moved(amount: Tensor) -> Solution:
        shift = torch.stack([amount * (parameter == "x"), amount * (parameter == "y"), 0.0 * amount])
        lens = base.cameras.intrinsics.clone()
        scale = torch.diag(torch.stack([amount + 1.0, amount + 1.0, torch.ones_like(amount)]))
        lens = torch.cat([lens[..., :2] @ scale[:2, :2], lens[..., 2:]], dim=-1) if parameter == "focal" else lens
        cameras = dataclasses.replace(base.cameras, intrinsics=lens)
        return dataclasses.replace(base, translation=base.translation + shift, cameras=cameras)

    amount = torch.zeros((), requires_grad=True)
    _weighted(render_solution(model, moved(amount), FINE).alpha, moment).backward()
    assert amount.grad is not None
    with torch.no_grad():
        high, low = (
            _weighted(render_solution(model, moved(torch.tensor(sign * step)), FINE).alpha, moment)
            for sign in (1.0, -1.0)
        )
    difference = float(high - low) / (2 * step)
    assert float(amount.grad) == pytest.approx(difference, rel=tolerance)


def test_turning_the_head_has_the_gradient_of_the_picture(model: VRMM) -> None:
    """To a quarter: the gradient does not see the jump of opacity at the faces of the primitives."""
    base = photograph(model, (0.0,)).solution

    def turned(angle: Tensor) -> Solution:
        turn = rotation_from_axis_angle(torch.stack([0.0 * angle, 0.0 * angle, angle])[None])
        return dataclasses.replace(base, rotation=base.rotation @ turn)

    y, x = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    angle = torch.zeros((), requires_grad=True)
    (render_solution(model, turned(angle), FINE).alpha[0, 0] * x * y).sum().backward()
    with torch.no_grad():
        high, low = (
            (render_solution(model, turned(torch.tensor(sign * 0.03)), FINE).alpha[0, 0] * x * y).sum()
            for sign in (1.0, -1.0)
        )
    assert angle.grad is not None
    assert float(angle.grad) == pytest.approx(float(high - low) / 0.06, rel=0.25)


def test_blend_weights_always_sum_to_one(model: VRMM) -> None:
    views = blank_views(cameras((0.0,)))
    state = FitState(model.identity_codes.weight, 6, 12, 1, 1)
    torch.testing.assert_close(state.z_id[0], model.identity_codes.weight.mean(dim=0))
    with torch.no_grad():
        state.weights.copy_(torch.tensor([0.7, 2.0, -1.0, 0.1, 0.0]))
        state.raw_light.fill_(-50.0)
    assert float(state.blend.sum().detach()) == pytest.approx(1.0, abs=1e-5)
    assert float(state.light.min().detach()) >= 0.0
    assert len(state.solution(views).rotation) == 1


def test_a_stage_begins_where_the_last_one_stopped(known: Known) -> None:
    state = FitState.at_solution(known.model, known.views, known.solution)
    again = state.solution(known.views)
    for name in ("z_id", "weights", "z_e", "light", "rotation", "translation"):
        torch.testing.assert_close(getattr(again, name), getattr(known.solution, name), atol=2e-5, rtol=1e-4)
