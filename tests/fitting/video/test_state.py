"""Tables of unknowns: only the rows that are seen move, by Adam's own rule, towards smooth motion."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.recipe import VideoConfig
from fitting.video.rowadam import BETAS, RowAdam
from fitting.video.state import VideoState, drawn_rows, smoothness
from prior.metrics import rotation_angle
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM
from tests.fitting.video.clips import Film, film


def test_a_row_moves_as_if_it_were_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(9, 4, 3, generator=generator)
    seen = [torch.randperm(4, generator=generator)[:2] for _ in range(9)]
    table, adam = torch.zeros(4, 3), RowAdam({"x": (4, 3)})
    for step, rows in enumerate(seen):
        table[rows] += 0.1 * adam.direction("x", rows, gradients[step, rows])
    for row in range(4):
        alone = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.Adam([alone], lr=0.1, betas=BETAS)
        for step, rows in enumerate(seen):
            if row in rows:
                alone.grad = gradients[step, row].clone()
                optimizer.step()
        torch.testing.assert_close(table[row], alone.detach(), atol=1e-6, rtol=1e-5)


def test_moments_survive_a_checkpoint() -> None:
    first, second = RowAdam({"x": (3, 2)}), RowAdam({"x": (3, 2)})
    rows, gradient = torch.tensor([2, 0]), torch.tensor([[1.0, -2.0], [0.5, 0.1]])
    first.direction("x", rows, gradient)
    second.load({name: value.clone() for name, value in first.tensors().items()})
    torch.testing.assert_close(first.direction("x", rows, -gradient), second.direction("x", rows, -gradient))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_every_frame_is_drawn_once_a_round(count: int, batch: int, seed: int) -> None:
    steps = -(-count // batch)
    rounds = [
        torch.cat([drawn_rows(seed, number * steps + step, batch, count) for step in range(steps)]).tolist()
        for number in range(2)
    ]
    for rows in rounds:
        assert sorted(rows) == list(range(count))
    assert count < 8 or rounds[0] != rounds[1]


def state_of(found: Film, **changes: torch.Tensor) -> VideoState:
    solution = found.solution
    values = {
        "weights": solution.weights,
        "offset": torch.zeros_like(solution.z_id),
        "raw_light": torch.zeros_like(solution.light),
        "level": torch.ones(()),
        "light_rotation": solution.light_rotation,
        "z_e": solution.z_e.clone(),
        "rotation": solution.rotation.clone(),
        "translation": solution.translation.clone(),
    }
    return VideoState(**(values | changes))


@pytest.fixture(scope="module")
def steady(model: VRMM) -> Film:
    """Seven frames that go on as they began."""
    found = film(model, 7)
    at = torch.arange(7.0)[:, None]
    solution = found.solution
    object.__setattr__(solution, "z_e", 0.1 * at * solution.z_e[:1])
    object.__setattr__(solution, "translation", solution.translation[:1] + 0.004 * at * torch.tensor([1.0, 0.0, 0.5]))
    object.__setattr__(solution, "rotation", rotation_from_axis_angle(at * torch.tensor([0.0, 0.02, 0.0])))
    return found


def cost(found: Film, state: VideoState, rows: list[int], config: VideoConfig) -> float:
    cameras = found.solution.cameras
    seen = dataclasses.replace(
        found.solution,
        z_e=state.z_e[rows],
        rotation=state.rotation[rows],
        translation=state.translation[rows],
        cameras=dataclasses.replace(
            cameras, world_to_camera=cameras.world_to_camera[rows], intrinsics=cameras.intrinsics[rows]
        ),
    )
    return float(smoothness(state, seen, torch.tensor(rows), config))


def test_steady_motion_costs_nothing_and_trembling_does(steady: Film) -> None:
    still = VideoConfig(smooth_expression=1.0, smooth_turn=1.0, smooth_shift=1.0)
    inner = [1, 2, 3, 4, 5]
    assert cost(steady, state_of(steady), inner, still) == pytest.approx(0.0, abs=1e-6)
    for name, change in [("z_e", 0.3), ("translation", 0.01)]:
        trembling = getattr(state_of(steady), name).clone()
        trembling[3] += change
        # In its own place the frame is off by the change, in its neighbours' by half of it.
        size = trembling[3].numel() if name == "translation" else 1
        expected = size * change**2 * (1.0 + 2 * 0.25) / len(inner)
        assert cost(steady, state_of(steady, **{name: trembling}), inner, still) == pytest.approx(expected, rel=1e-3)
    turned = state_of(steady).rotation.clone()
    turned[3] = turned[3] @ rotation_from_axis_angle(torch.tensor([0.1, 0.0, 0.0]))
    assert cost(steady, state_of(steady, rotation=turned), [3], still) == pytest.approx(0.1**2, rel=0.01)
    nothing = VideoConfig(smooth_expression=0.0, smooth_turn=0.0, smooth_shift=0.0)
    assert cost(steady, state_of(steady, rotation=turned), [3], nothing) == 0.0


@pytest.mark.parametrize("count", [1, 2])
def test_the_shortest_videos_have_neighbours_too(model: VRMM, count: int) -> None:
    found = film(model, count)
    value = cost(found, state_of(found), list(range(count)), VideoConfig())
    assert np.isfinite(value)
    assert (value == 0.0) == (count == 1)


def test_a_curve_holds_rotations_after_many_small_turns(model: VRMM) -> None:
    state = state_of(film(model, 3))
    step = rotation_from_axis_angle(torch.full((3, 3), 0.003))
    for _ in range(3000):
        state.rotation = state.rotation @ step
    curve = state.curve(24.0)
    found = curve.rotation.double()
    torch.testing.assert_close(found @ found.transpose(1, 2), torch.eye(3).double().expand(3, 3, 3), atol=1e-6, rtol=0)
    assert float(rotation_angle(found[0].float(), state.rotation[0])) < 0.01
