"""What a prior has seen: expression codes and lights of its training frames, to draw from and to compare with."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from prior.codebank import FILE, read_code_bank, read_light_bank
from prior.vrmm import VRMM

UNSEEN_SPREAD = 0.5
"""Standard deviation of the codes drawn where a prior brings no bank: inside the normal distribution of eq. 10."""
FULLY_LIT = 0.95
"""Quantile of the brightness of training lights at which all lamps burn: no rare brighter one decides."""
LEAST_SPREAD = 0.1
"""Of the logarithm of the light's total: a capture under one light alone still is no proof of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingBank:
    """Codes and lights of training frames; both are empty where a prior brings no bank.

    Attributes:
        codes: [N, E].
        lights: [M, N_l, 3] incoming radiance, head frame.
    """

    codes: Float[Tensor, "N E"]
    lights: Float[Tensor, "M L 3"]

    @staticmethod
    def of_prior(folder: Path, model: VRMM) -> "TrainingBank":
        """The bank of a run folder.

        Raises:
            VrmmError: it is of another model.
        """
        wanted = (model.config.expression, model.config.light_directions)
        if not (Path(folder) / FILE).exists():
            return TrainingBank(codes=torch.zeros(0, wanted[0]), lights=torch.zeros(0, wanted[1], 3))
        codes, lights = read_code_bank(folder).float(), read_light_bank(folder).float()
        if codes.shape[1:] != wanted[:1] or lights.shape[1:] != (wanted[1], 3):
            raise VrmmError(f"{Path(folder) / FILE} is not of the model in {folder}; finish the training again")
        return TrainingBank(codes=codes, lights=lights)

    @property
    def has_lights(self) -> bool:
        return len(self.lights) > 0

    def light_levels(self) -> Float[Tensor, "M"]:
        """The logarithm of every light's mean radiance."""
        return self.lights.mean(dim=(1, 2)).clamp(min=1e-8).log()

    def exposed_level(self) -> float:
        """That of a fully lit stage, which places are exposed to match; there must be some lights (``has_lights``)."""
        return float(self.light_levels().quantile(FULLY_LIT))

    def light_level(self) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of a light's mean radiance."""
        levels = self.light_levels()
        spread = float(levels.std()) if len(levels) > 1 else 0.0
        return float(levels.mean()), max(spread, LEAST_SPREAD)

    def draw_codes(self, count: int, generator: torch.Generator) -> Float[Tensor, "S E"]:
        """``count`` expression codes at random."""
        if len(self.codes) == 0:
            return UNSEEN_SPREAD * torch.randn(count, self.codes.shape[1], generator=generator)
        return self.codes[torch.randint(len(self.codes), (count,), generator=generator)]

    def draw_light(self, generator: torch.Generator) -> Float[Tensor, "L 3"]:
        """One light at random; there must be some (``has_lights``)."""
        return self.lights[int(torch.randint(len(self.lights), (), generator=generator))]
