"""Random heads before random cameras: what the initializer learns from."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from fitting.initializer.lights import RandomLights
from fitting.initializer.recipe import HeadsConfig
from fitting.locality import look_at_head
from prior.cameras import CameraBatch
from prior.vrmm import VRMM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """S heads, each seen by V cameras in a row, in the head frame.

    Attributes:
        blend: [S, N] weights of the training identities; they sum to 1.
        z_e: [S, E].
        light: [S, L, 3] incoming radiance.
        cameras: S·V of them, square, looking at the head's origin.
    """

    blend: Float[Tensor, "S N"]
    z_e: Float[Tensor, "S E"]
    light: Float[Tensor, "S L 3"]
    cameras: CameraBatch


class RandomHeads:
    """Draws heads, a pure function of the random generator given. Final."""

    def __init__(self, model: VRMM, bank: TrainingBank, config: HeadsConfig) -> None:
        self._subjects = len(model.identity_codes.weight)
        self._bank, self._config = bank, config
        self._lights = RandomLights(model.light_sphere, bank, config)

    def draw(self, count: int, views: int, random: np.random.Generator) -> Heads:
        """``count`` heads with ``views`` cameras each."""
        blends, codes, lights, cameras = [], [], [], []
        for _ in range(count):
            blends.append(self._blend(random))
            codes.append(self._expression(random))
            lights.append(self._lights.draw(random))
            cameras.extend(self._camera(random) for _ in range(views))
        return Heads(
            blend=torch.tensor(np.stack(blends), dtype=torch.float32),
            z_e=torch.stack(codes),
            light=torch.stack(lights),
            cameras=CameraBatch(
                world_to_camera=torch.cat([camera.world_to_camera for camera in cameras]),
                intrinsics=torch.cat([camera.intrinsics for camera in cameras]),
                height=self._config.size,
                width=self._config.size,
            ),
        )

    def _blend(self, random: np.random.Generator) -> Float[np.ndarray, "N"]:
        """Between a few training identities, or anywhere around their mean and beyond them."""
        count = self._subjects
        if random.random() < 0.3:
            chosen = random.permutation(count)[: int(random.integers(1, 5))]
            weights = np.zeros(count)
            weights[chosen] = random.dirichlet(np.full(len(chosen), 0.8))
            return weights
        step = random.standard_normal(count)
        step -= step.mean()
        length = self._config.extrapolation * math.sqrt(random.random())
        return 1.0 / count + step * length / max(float(np.linalg.norm(step)), 1e-9)

    def _expression(self, random: np.random.Generator) -> Float[Tensor, "E"]:
        """A training frame's, or between two of them, a little more or less of it."""
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        first, second = self._bank.draw_codes(2, generator)
        share = float(random.random() < 0.5) * random.random()
        return ((1.0 - share) * first + share * second) * random.uniform(0.6, 1.25)

    def _camera(self, random: np.random.Generator) -> CameraBatch:
        """At a random place in front of the head, near ones with wide lenses and far ones with long ones."""
        config = self._config
        wide = random.random() < 0.4
        yaw = math.radians(config.yaw * (random.uniform(-1, 1) if wide else np.clip(random.normal(0, 0.3), -1, 1)))
        pitch = math.radians(config.pitch * np.clip(random.normal(0, 0.45), -1, 1))
        field = math.radians(math.exp(random.uniform(math.log(config.narrowest), math.log(config.widest))))
        distance = config.extent / 2 / math.tan(field / 2)
        place = distance * torch.tensor(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)], dtype=torch.float32
        )
        return look_at_head(place, config.size / 2 / math.tan(field / 2), config.size)
