"""Fixed gatherings of light: what a matt and a glossy surface turned like the template would receive."""

import math

import pytest
import torch

from prior.lighting import fibonacci_directions
from prior.lobes import COUNT, CosineLobes, lobe_weights
from tests.prior.small_model import sphere_template

DIRECTIONS = torch.tensor(fibonacci_directions(400), dtype=torch.float32)
MATT = 0


def test_constant_light_is_one_in_every_lobe():
    gathered = lobe_weights(DIRECTIONS).sum(dim=0)
    # the sum over 400 directions stands for an integral whose kernel is 40° wide
    assert gathered.shape == (COUNT,)
    assert torch.allclose(gathered, torch.ones(COUNT), atol=0.02)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 80.0, 100.0, 180.0])
def test_first_lobe_is_the_cosine_law(degrees):
    angle = math.radians(degrees)
    towards = torch.tensor([[math.sin(angle), 0.0, math.cos(angle)]])
    irradiance = lobe_weights(towards)[0, MATT] * math.pi / (4.0 * math.pi)  # one direction stands for 4 pi
    assert irradiance == pytest.approx(max(math.cos(angle), 0.0), abs=1e-6)


def test_light_from_behind_a_surface_reaches_no_lobe_strongly():
    behind = lobe_weights(torch.tensor([[0.0, 0.0, -1.0]])) / lobe_weights(torch.tensor([[0.0, 0.0, 1.0]]))[0, MATT]
    assert behind.abs().max() == 0.0


def test_a_lamp_lights_the_side_of_the_template_that_faces_it():
    template = sphere_template(33)
    lobes = CosineLobes(template, DIRECTIONS, [4, 16])
    for axis in range(3):
        lamp = torch.zeros(1, len(DIRECTIONS), 3)
        lamp[0, DIRECTIONS[:, axis].argmax(), 1] = 1.0
        coarse, fine = lobes.gather(lamp)
        assert coarse.shape == (1, 3, COUNT, 4, 4)
        assert fine.shape == (1, 3, COUNT, 16, 16)
        assert fine[:, [0, 2]].abs().max() == 0.0
        cells = torch.arange(16) * 2 + 1  # the vertices in the middle of the texels
        place = torch.tensor(template.vertices).reshape(33, 33, 3)[cells][:, cells]
        facing = place / place.norm(dim=-1, keepdim=True)  # a sphere's points are its normals
        expected = facing[..., axis].clamp(min=0.0)
        found = fine[0, 1, MATT] / fine[0, 1, MATT].max()
        assert (found - expected).abs().mean() < 0.06


def test_light_is_behind_the_side_of_the_template_that_faces_away():
    lobes = CosineLobes(sphere_template(33), DIRECTIONS, [4, 16])
    lamp = torch.zeros(1, len(DIRECTIONS), 1)
    lamp[0, 123] = 2.0
    behind = lobes.behind(lamp)[0, ..., 0].flatten()
    facing = lobes.frames[..., 2] @ DIRECTIONS[123]
    torch.testing.assert_close(behind, 2.0 * (-facing).clamp(min=0.0))
    assert 0.3 < float((behind > 0).float().mean()) < 0.7
