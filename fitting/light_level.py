"""How bright a light is, by how it is spread: what photos cannot tell, and training frames know.

How dark skin is cannot be told from how dim the light is. But lights come in kinds: where all lamps of a stage burn it
is bright all around, where few do it is dim and from one side. The brightness of light of a given shape is the mean
over training lights of about that shape: the kernel regression of Nadaraya (1964) and Watson (1964). Light of no such
shape is not the stage's. Who takes a photo somewhere exposes for the place, and wherever vrmm lights a head by a place
it is as bright as a stage whose lamps all burn (``LightStage.exposed``); so it is here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import LEAST_SPREAD, TrainingBank
from prior.lighting import LightSphere

WIDTH = 0.1
"""Of the kernel: about how far the shape of a training light is from that of its nearest like."""
ELSEWHERE = 3e-3
"""Weight of light of any shape and as bright as a fully lit stage, for each training light, beside 1 for that one where
the shape is the very same."""


class LightLevel:
    """Logarithm of a light's mean radiance, given its shape. Final.

    The shape is what a matt surface gathers, by where it faces, relative to the mean over all directions.
    """

    def __init__(self, sphere: LightSphere, bank: TrainingBank) -> None:
        """``bank`` has lights."""
        self._gather = (sphere.directions @ sphere.directions.T).clamp(min=0.0)
        self._levels = torch.cat([bank.light_levels(), bank.light_levels().new_tensor([bank.exposed_level()])])
        self._shapes = self._shape(bank.lights)

    @torch.no_grad()
    def given(self, light: Float[Tensor, "L 3"]) -> tuple[float, float]:
        """Mean and standard deviation; ``light`` may be of any brightness."""
        squared = ((self._shapes - self._shape(light[None])) ** 2).mean(dim=1)
        alike = torch.exp(-squared / (2.0 * WIDTH**2))
        weights = torch.cat([alike, alike.new_tensor([ELSEWHERE * len(alike)])])
        weights = weights / weights.sum()
        mean = (weights * self._levels).sum()
        spread = (weights * (self._levels - mean) ** 2).sum().sqrt()
        return float(mean), max(float(spread), LEAST_SPREAD)

    def _shape(self, lights: Float[Tensor, "M L 3"]) -> Float[Tensor, "M L"]:
        gathered = lights.mean(dim=2) @ self._gather
        return gathered / gathered.mean(dim=1, keepdim=True).clamp(min=1e-8)
