"""What fine-tuning learns of photos must hold for expressions near theirs."""

import dataclasses

import pytest
import torch

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.expression_noise import ExpressionNoise
from fitting.finetune import finetune
from fitting.objective import photo_loss
from fitting.recipe import FinetuneConfig
from fitting.rendering import render_solution
from tests.fitting.conftest import Known, recipe
from tests.fitting.tiny import CONFIG, RENDERING

BANK = TrainingBank(codes=torch.zeros(0, CONFIG.expression), lights=torch.zeros(0, CONFIG.light_directions, 3))


def test_noise_is_normal_and_repeats_itself(known: Known) -> None:
    first, second = ExpressionNoise(0.2, seed=3), ExpressionNoise(0.2, seed=3)
    changes = torch.cat([first(known.solution).z_e - known.solution.z_e for _ in range(400)])
    again = torch.cat([second(known.solution).z_e - known.solution.z_e for _ in range(400)])
    assert torch.equal(changes, again)
    # 400 draws of each number: the mean's error is 0.01, that of the deviation 0.007.
    assert float(changes.mean(dim=0).abs().max()) < 0.05
    torch.testing.assert_close(changes.std(dim=0), torch.full((CONFIG.expression,), 0.2), atol=0.04, rtol=0)
    assert not torch.equal(changes, torch.cat([ExpressionNoise(0.2, seed=4)(known.solution).z_e for _ in range(400)]))


def test_noise_touches_nothing_but_expressions(known: Known) -> None:
    noisy = ExpressionNoise(0.5, seed=0)(known.solution)
    assert dataclasses.replace(noisy, z_e=known.solution.z_e).z_id is known.solution.z_id
    assert noisy.light is known.solution.light
    assert ExpressionNoise(0.0, seed=0)(known.solution) is known.solution


def test_what_was_learnt_holds_for_expressions_nearby(known: Known) -> None:
    """A person of another colour than the prior knows: the colour must not hang on the photos' own code."""
    tinted = dataclasses.replace(known.views, images=known.views.images * torch.tensor([1.4, 1.0, 0.6])[:, None, None])
    nearby = ExpressionNoise(1.0, seed=11)
    others = [nearby(known.solution) for _ in range(12)]
    left = {}
    for sigma in (0.0, 1.0):
        settings = recipe(finetune=60)
        settings.finetune.expression_noise, settings.finetune.locality.weight = sigma, 0.0
        tuned = finetune(known.model, RENDERING, tinted, known.solution, settings, BANK)
        with torch.no_grad():
            found = [
                photo_loss(render_solution(tuned.model, other, RENDERING), tinted, settings.losses) for other in others
            ]
        left[sigma] = float(torch.stack(found).mean())
    assert left[1.0] < 0.9 * left[0.0]


def test_negative_noise_is_refused() -> None:
    with pytest.raises(VrmmError, match="expression_noise=-0.1 is negative"):
        FinetuneConfig(expression_noise=-0.1)
