"""Expression codes that the prior knows, to draw from."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from prior.codebank import FILE, read_code_bank

UNSEEN_SPREAD = 0.5
"""Standard deviation of the codes drawn where a prior brings no bank: inside the normal distribution of eq. 10."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpressionBank:
    """Codes of training frames, or a normal distribution where there are none.

    Attributes:
        codes: [N, E], possibly none.
        length: E.
    """

    codes: Float[Tensor, "N E"]
    length: int

    @staticmethod
    def of_prior(folder: Path, length: int) -> "ExpressionBank":
        """The bank of a run folder.

        Raises:
            VrmmError: its codes are of another length than the model's.
        """
        if not (Path(folder) / FILE).exists():
            return ExpressionBank(codes=torch.zeros(0, length), length=length)
        codes = read_code_bank(folder)
        if codes.ndim != 2 or codes.shape[1] != length:
            raise VrmmError(
                f"{Path(folder) / FILE} holds codes of shape {tuple(codes.shape)}; the model's are of {length}"
            )
        return ExpressionBank(codes=codes.float(), length=length)

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "S E"]:
        """``count`` codes at random."""
        if len(self.codes) == 0:
            return UNSEEN_SPREAD * torch.randn(count, self.length, generator=generator)
        return self.codes[torch.randint(len(self.codes), (count,), generator=generator)]
