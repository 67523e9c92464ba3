"""The brightness of a light by its shape: kinds of training lights are kept apart, and nothing else matters."""

import math

import pytest
import torch

from fitting.bank import LEAST_SPREAD, TrainingBank
from fitting.light_level import LightLevel
from prior.lighting import LightSphere

SPHERE = LightSphere(32)
FULL, SIDE = 1.0, 0.4
"""Mean radiance of the two kinds of training lights."""


def from_side(direction: tuple[float, float, float], level: float) -> torch.Tensor:
    """Light of that mean from about one direction."""
    light = (SPHERE.directions @ torch.tensor(direction)).clamp(min=0.0) ** 4
    return (level * light / light.mean())[:, None].expand(-1, 3)


@pytest.fixture(scope="module")
def level() -> LightLevel:
    """A stage that burns brightly all around, or dimly from the left or the right."""
    around = [torch.full((32, 3), FULL)] * 4
    sides = [from_side((side, 0.0, 0.0), SIDE) for side in (-1.0, 1.0)] * 4
    bank = TrainingBank(codes=torch.zeros(0, 4), lights=torch.stack([*around, *sides]))
    return LightLevel(SPHERE, bank)


def test_every_kind_of_light_has_its_own_brightness(level: LightLevel) -> None:
    """However bright or coloured the light in question is."""
    for scale in (0.1, 1.0, 7.0):
        around, beside = torch.full((32, 3), scale), scale * from_side((1.0, 0.0, 0.0), SIDE)
        assert level.given(around)[0] == pytest.approx(math.log(FULL), abs=0.02)
        assert level.given(beside)[0] == pytest.approx(math.log(SIDE), abs=0.02)
    tinted = torch.tensor([1.5, 1.0, 0.5]).expand(32, 3)
    assert level.given(tinted) == pytest.approx(level.given(torch.ones(32, 3)))


def test_a_place_is_as_bright_as_the_fully_lit_stage(level: LightLevel) -> None:
    """Light from below is like none of the stage's: the photo's camera exposed for it."""
    mean, spread = level.given(from_side((0.0, -1.0, 0.0), 1.0))
    assert mean == pytest.approx(math.log(FULL), abs=0.05)
    assert spread == pytest.approx(LEAST_SPREAD, rel=0.2)


def test_a_kind_alone_is_narrow(level: LightLevel) -> None:
    assert level.given(torch.ones(32, 3))[1] == pytest.approx(LEAST_SPREAD, rel=0.2)


def test_between_two_kinds_it_may_be_either() -> None:
    """Lights of one shape, half of them bright and half of them dim."""
    lights = torch.cat([torch.full((8, 32, 3), FULL), torch.full((8, 32, 3), SIDE)])
    mean, spread = LightLevel(SPHERE, TrainingBank(codes=torch.zeros(0, 4), lights=lights)).given(torch.ones(32, 3))
    assert mean == pytest.approx(math.log(FULL * SIDE) / 2, abs=0.01)
    assert spread == pytest.approx(math.log(FULL / SIDE) / 2, rel=0.01)


def test_a_rare_bright_frame_does_not_say_what_fully_lit_is() -> None:
    lights = torch.cat([torch.full((99, 32, 3), 1.0), torch.full((1, 32, 3), 50.0)])
    assert TrainingBank(codes=torch.zeros(0, 4), lights=lights).exposed_level() == pytest.approx(0.0, abs=1e-4)


def test_darkness_has_a_level(level: LightLevel) -> None:
    mean, spread = level.given(torch.zeros(32, 3))
    assert math.isfinite(mean)
    assert spread >= LEAST_SPREAD
