"""Random heads: Gaussians fitted to banks of codes."""

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError


def draw_gaussian(codes: Float[Tensor, "N C"], count: int, *, temperature: float, seed: int) -> Float[Tensor, "S C"]:
    """Codes from the Gaussian that has the mean and the covariance of a bank.

    The covariance is used through its factor, the centred codes themselves, so that a bank of fewer codes than
    dimensions needs no regularisation: samples stay in the space that its codes span.

    Args:
        codes: the bank, at least two codes.
        count: how many to draw. The first samples do not depend on it.
        temperature: standard deviations are multiplied by it: 0 gives the mean, 1 the Gaussian itself.
        seed: of the random numbers.

    Raises:
        VrmmError: fewer than two codes, no sample asked for, or a negative temperature.
    """
    if len(codes) < 2:
        raise VrmmError(f"random heads need a bank of two codes or more, and there is {len(codes)}; train on more")
    if count < 1:
        raise VrmmError(f"at least one random head must be asked for, not {count}")
    if not 0.0 <= temperature < float("inf"):
        raise VrmmError(f"the temperature of random heads is {temperature}; it must be 0 or more")
    generator = torch.Generator().manual_seed(seed)
    bank = codes.detach().double()
    mean = bank.mean(dim=0)
    factor = (bank - mean) / (len(bank) - 1) ** 0.5
    # One by one: torch draws a different sequence where the number of values differs.
    weights = [torch.randn(len(bank), generator=generator, dtype=torch.float64) for _ in range(count)]
    return (mean + temperature * torch.stack(weights) @ factor).to(codes.dtype)
