"""Noise on the expression codes of photos, as the decoders have met it in training."""

import dataclasses

import torch

from fitting.state import Solution


class ExpressionNoise:
    """z_e + sigma · noise, as drawn from the encoder's Gaussian in training. Final.

    A pure function of the seed and the order of calls.

    Args:
        sigma: standard deviation; 0 leaves the codes as they are.
        seed: of the noise.
    """

    def __init__(self, sigma: float, seed: int) -> None:
        self._sigma, self._generator = sigma, torch.Generator().manual_seed(seed)

    def __call__(self, solution: Solution) -> Solution:
        """The same solution with other codes."""
        if self._sigma == 0:
            return solution
        noise = torch.randn(solution.z_e.shape, generator=self._generator).to(solution.z_e)
        return dataclasses.replace(solution, z_e=solution.z_e + self._sigma * noise)
