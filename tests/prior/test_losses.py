"""Loss terms against their definitions."""

import math

import pytest
import torch

from datasets.errors import VrmmError
from prior import losses
from prior.losses import LossConfig


def test_kl_matches_torch_distributions():
    mean, log_variance = torch.randn(4, 5), torch.randn(4, 5)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)), torch.distributions.Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(losses.kl_divergence(mean, log_variance), expected, rtol=1e-5, atol=1e-5)


def test_scale_term_sees_only_the_shortest_sides():
    scale = torch.full((1, 4, 3), 2.0)
    scale[0, 1, 2], scale[0, 3, 0] = 0.5, 0.25
    value = losses.scale_regularization(scale, shortest=2)
    torch.testing.assert_close(value, torch.log(torch.tensor([2.0])) + torch.log(torch.tensor([4.0])))


def test_volume_is_the_mean_product_of_sides():
    scale = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 1.0, 2.0]]])
    torch.testing.assert_close(losses.volume(scale), torch.tensor([4.0]))


def test_structural_term_is_zero_for_equal_images_and_blind_to_nothing():
    image = torch.rand(2, 3, 32, 32)
    assert losses.structural(losses.tone(image), losses.tone(image)).abs().max() < 1e-5
    blurred = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    assert losses.structural(losses.tone(blurred), losses.tone(image)).min() > 0.1


def test_image_terms_are_per_sample():
    image, target = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    target[1] = 1.0
    values = losses.photometric(image, target)
    torch.testing.assert_close(losses.squared(image, target), values**2)
    assert values[0] == 0.0
    torch.testing.assert_close(values[1], torch.tensor(1.0))
    torch.testing.assert_close(losses.tone(target)[1], torch.full((3, 8, 8), math.sqrt(1.01)))


def test_negative_radiance_is_punished_and_positive_is_not():
    image = torch.full((1, 3, 2, 2), 5.0)
    image[0, 0, 0, 0] = -1.2
    torch.testing.assert_close(losses.below_zero(image), torch.tensor([0.1]))


def test_negative_weight_is_refused():
    with pytest.raises(VrmmError, match=r"losses\.kl"):
        LossConfig(kl=-1.0)


def test_code_terms_wait_until_the_decoders_use_the_code():
    weights = LossConfig(kl=2.0, consistency_image=1.0, consistency_code=0.0, kl_ramp=0.5, consistency_start=0.4)
    assert weights.at("kl", 0.0) == 0.0
    assert weights.at("kl", 0.25) == pytest.approx(1.0)
    assert weights.at("kl", 1.0) == 2.0
    assert not weights.uses_consistency(0.4)
    assert weights.uses_consistency(0.41)
    assert weights.at("consistency_image", 0.6) == pytest.approx(0.5)
    assert weights.at("consistency_image", 1.0) == 1.0
    assert weights.at("l1", 0.0) == weights.l1
    assert not LossConfig(consistency_image=0.0, consistency_code=0.0).uses_consistency(1.0)
    assert LossConfig(kl_ramp=0.0, consistency_start=0.0).at("consistency_image", 1e-3) == LossConfig.consistency_image
