"""Random light fields: what training frames had, a few lamps, and made-up places."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from datasets.lightstage.environment import environment_names, make_environment
from fitting.bank import TrainingBank
from fitting.initializer.recipe import HeadsConfig
from prior.lighting import LightSphere

ENVIRONMENT_SEEDS = 4
"""Variants of each made-up place."""
LEVEL_SPREAD = 1.3
"""Brightness varies by so much more than it does between training frames."""
EXPOSURE_SPREAD = 0.2
"""Standard deviation of the logarithm of a place's brightness."""
UNKNOWN_SPREAD = 0.3
"""The same of any other light's where a prior brings no lights."""


class RandomLights:
    """Light fields of the head frame, as bright as those of training frames. Final."""

    def __init__(self, sphere: LightSphere, bank: TrainingBank, config: HeadsConfig) -> None:
        self._sphere, self._bank, self._config = sphere, bank, config
        self._places: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def draw(self, random: np.random.Generator) -> Float[Tensor, "L 3"]:
        """One light field: incoming radiance, linear RGB."""
        kind = random.random()
        if kind < self._config.lamps:
            light = self._lamps(random)
        elif kind < self._config.lamps + self._config.environments or not self._bank.has_lights:
            place = self._environment(random)
            return place * (self._exposure(random) / place.mean().clamp(min=1e-8))
        else:
            first, second = random.integers(len(self._bank.lights), size=2)
            share = float(random.random() < 0.3) * random.random()  # some are mixtures of two
            light = (1.0 - share) * self._bank.lights[first] + share * self._bank.lights[second]
        return light * (self._level(random) / light.mean().clamp(min=1e-8))

    def _level(self, random: np.random.Generator) -> float:
        mean, spread = self._bank.light_level() if self._bank.has_lights else (0.0, UNKNOWN_SPREAD)
        return math.exp(mean + LEVEL_SPREAD * spread * random.standard_normal())

    def _exposure(self, random: np.random.Generator) -> float:
        """A place is as bright as a fully lit stage, about."""
        mean = self._bank.exposed_level() if self._bank.has_lights else 0.0
        return math.exp(mean + EXPOSURE_SPREAD * random.standard_normal())

    def _lamps(self, random: np.random.Generator) -> Float[Tensor, "L 3"]:
        """One to four lamps, mostly from in front, over an ambient of up to all of the light."""
        count = int(random.integers(1, 5))
        directions = random.standard_normal((count, 3)) + (0.0, 0.2, 0.8)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        strength = random.uniform(0.2, 1.0, (count, 1)) * np.exp(0.15 * random.standard_normal((count, 3)))
        weights = self._sphere.weights(torch.tensor(directions, dtype=torch.float32))
        lamps = weights.T @ torch.tensor(strength, dtype=torch.float32)
        ambient = float(random.random()) ** 2
        return (1.0 - ambient) * lamps / lamps.mean() + ambient

    def _environment(self, random: np.random.Generator) -> Float[Tensor, "L 3"]:
        """A place of any compass direction, a little tilted as heads are."""
        names = environment_names()
        chosen = names[int(random.integers(len(names)))], int(random.integers(ENVIRONMENT_SEEDS))
        if chosen not in self._places:
            light = make_environment(chosen[0], seed=chosen[1], height=32).to_light(64)
            directions, irradiance = (
                torch.tensor(v, dtype=torch.float32) for v in (light.directions, light.irradiance)
            )
            self._places[chosen] = directions, irradiance
        directions, irradiance = self._places[chosen]
        angles = random.uniform(-180.0, 180.0), *(10.0 * random.standard_normal(2))
        turn = torch.tensor(Rotation.from_euler("yxz", angles, degrees=True).as_matrix(), dtype=torch.float32)
        return self._sphere.radiance(directions[None], irradiance[None], turn[None])[0]
