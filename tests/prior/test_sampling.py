"""Random heads come from the distribution of the codes, and do not depend on how many are drawn."""

import pytest
import torch

from datasets.errors import VrmmError
from prior.sampling import draw_gaussian


def bank(codes: int = 40, length: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.3, 0.0], [0.0, 0.0, 0.0]])
    return torch.randn(codes, length, generator=generator) @ mix.T + torch.tensor([1.0, -2.0, 0.5])


def test_samples_have_the_mean_and_covariance_of_the_bank() -> None:
    codes = bank()
    drawn = draw_gaussian(codes, 4000, temperature=1.0, seed=3)
    spread = codes.std(dim=0)
    assert ((drawn.mean(dim=0) - codes.mean(dim=0)).abs() <= 4.0 * spread / 4000**0.5 + 1e-6).all()  # four sigma
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), rtol=0.1, atol=0.05)


def test_a_bank_of_few_codes_spans_its_own_space() -> None:
    """Three people in 64 dimensions: a sample is a blend of them, not noise in directions nobody has."""
    codes = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    drawn = draw_gaussian(codes, 5, temperature=1.0, seed=0) - codes.mean(dim=0)
    basis = torch.linalg.qr((codes[1:] - codes[0]).T).Q
    torch.testing.assert_close(drawn @ basis @ basis.T, drawn, rtol=1e-4, atol=1e-4)


def test_the_first_heads_are_the_same_however_many_are_drawn() -> None:
    codes = bank()
    many = draw_gaussian(codes, 30, temperature=1.0, seed=5)
    for count in (1, 2, 17):
        assert torch.equal(draw_gaussian(codes, count, temperature=1.0, seed=5), many[:count])
    assert not torch.equal(draw_gaussian(codes, 1, temperature=1.0, seed=6), many[:1])


def test_temperature_scales_the_way_from_the_mean() -> None:
    codes = bank()
    mean = codes.mean(dim=0)
    full = draw_gaussian(codes, 4, temperature=1.0, seed=2) - mean
    torch.testing.assert_close(draw_gaussian(codes, 4, temperature=0.5, seed=2) - mean, 0.5 * full)
    torch.testing.assert_close(draw_gaussian(codes, 4, temperature=0.0, seed=2), mean.expand(4, 3))


@pytest.mark.parametrize(
    ("codes", "count", "temperature", "message"),
    [
        (1, 1, 1.0, "two codes"),
        (4, 0, 1.0, "at least one"),
        (4, 1, -0.5, "temperature"),
        (4, 1, float("nan"), "temper"),
    ],
)
def test_what_cannot_be_drawn(codes: int, count: int, temperature: float, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        draw_gaussian(bank(codes), count, temperature=temperature, seed=0)
