"""Random lights for the initializer: each kind is as bright as photos of that kind are."""

import numpy as np
import pytest
import torch

from fitting.bank import TrainingBank
from fitting.initializer.lights import EXPOSURE_SPREAD, LEVEL_SPREAD, RandomLights
from fitting.initializer.recipe import HeadsConfig
from prior.lighting import LightSphere

SPHERE = LightSphere(32)
DIM, FULL = -1.0, 0.0
"""Logarithm of the mean radiance of the two kinds of training lights."""
DRAWS = 200


def levels(**shares: float) -> np.ndarray:
    """Logarithm of the mean radiance of lights of one kind; one training light in five is of a fully lit stage."""
    lights = torch.full((10, 32, 3), np.exp(DIM))
    lights[:2] = np.exp(FULL)
    bank = TrainingBank(codes=torch.zeros(0, 4), lights=lights)
    lights = RandomLights(SPHERE, bank, HeadsConfig(**{"lamps": 0.0, "environments": 0.0, **shares}))
    random = np.random.default_rng(0)
    return np.array([float(lights.draw(random).mean().log()) for _ in range(DRAWS)])


def test_places_are_exposed() -> None:
    found = levels(environments=1.0)
    # Means of 200 draws are known to a fifteenth of their spread; three of those.
    assert found.mean() == pytest.approx(FULL, abs=0.2 * EXPOSURE_SPREAD)
    assert found.std() == pytest.approx(EXPOSURE_SPREAD, rel=0.2)


@pytest.mark.parametrize("shares", [{"lamps": 1.0}, {}])
def test_lamps_are_as_bright_as_training_lights(shares: dict[str, float]) -> None:
    spread = float(torch.tensor([FULL] * 2 + [DIM] * 8).std())
    found = levels(**shares)
    assert found.mean() == pytest.approx(DIM + 0.2 * (FULL - DIM), abs=0.2 * LEVEL_SPREAD * spread)
    assert found.std() == pytest.approx(LEVEL_SPREAD * spread, rel=0.2)
