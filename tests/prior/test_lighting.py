"""Lamps to light field: nothing lost, exact at the nodes, turning with the head."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prior.lighting import LightSphere
from prior.primitives import rotation_from_axis_angle

SPHERE = LightSphere(32)
UNIT = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: sum(x * x for x in v) > 1e-2)


def unit(values):
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


@given(UNIT)
@settings(deadline=None)
def test_weights_are_a_partition_of_one_on_near_directions(values):
    direction = unit(values)
    weights = SPHERE.weights(direction)
    assert weights.min() >= 0.0
    assert abs(float(weights.sum()) - 1.0) < 1e-5
    assert int((weights > 0).sum()) <= 3
    # 32 directions stand for cones of about 20°; a triangle's corners are never farther than 60°
    assert (SPHERE.directions[weights > 0] @ direction).min() > math.cos(math.radians(60))


@given(UNIT, UNIT, st.floats(0.0, 1.0))
@settings(deadline=None)
def test_weights_are_continuous_in_the_direction(a, b, share):
    start = unit(a)
    near = torch.nn.functional.normalize(start + 1e-4 * unit(b) * share, dim=-1)
    # barycentric weights change at most by the step over the triangle's height (about 0.3)
    assert (SPHERE.weights(start) - SPHERE.weights(near)).abs().max() < 5e-3


def test_lamp_at_a_direction_lights_that_direction_alone():
    lamps = SPHERE.directions[None, 5:6]
    radiance = SPHERE.radiance(lamps, torch.ones(1, 1, 3), torch.eye(3)[None])[0, :, 0]
    expected = torch.zeros(32)
    expected[5] = 1.0 / SPHERE.solid_angle
    torch.testing.assert_close(radiance, expected, rtol=1e-4, atol=1e-4)


def test_total_irradiance_is_kept_and_the_field_turns_against_the_head():
    lamps = torch.nn.functional.normalize(torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    power = torch.rand(1, 7, 3, generator=torch.Generator().manual_seed(1))
    turn = rotation_from_axis_angle(torch.tensor([[0.2, -0.4, 0.1]]))
    field = SPHERE.radiance(lamps, power, turn)
    torch.testing.assert_close(field.sum(1) * SPHERE.solid_angle, power.sum(1), rtol=1e-5, atol=1e-5)
    moved_lamps = SPHERE.radiance(lamps @ turn[0], power, torch.eye(3)[None])
    torch.testing.assert_close(field, moved_lamps, rtol=1e-4, atol=1e-5)


def test_padding_lamps_without_direction_add_nothing():
    lamps = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    radiance = SPHERE.radiance(lamps, torch.tensor([[[1.0] * 3, [0.0] * 3]]), torch.eye(3)[None])
    torch.testing.assert_close(radiance, SPHERE.radiance(lamps[:, :1], torch.ones(1, 1, 3), torch.eye(3)[None]))
