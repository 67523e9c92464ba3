"""Inversion explains the model's own pictures; fine-tuning with locality leaves the rest of the model alone."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.diagnostics import drift, input_metrics
from fitting.finetune import LANDING, EarlyStop, finetune
from fitting.inversion import Inversion, invert
from fitting.locality import Locality
from fitting.objective import CarriedLandmarks, LightGuess, LightPrior
from fitting.optimizer import FINAL_RATE, ScheduledAdam
from fitting.recipe import LOOSER, Expressions, FinetuneConfig, ImageWeights, InversionConfig, LocalityConfig
from fitting.rendering import render_solution
from fitting.state import FitState
from prior.codebank import FILE
from prior.metrics import rotation_angle
from prior.vrmm import VRMM
from tests.fitting.conftest import Known, photograph, recipe
from tests.fitting.tiny import CONFIG, RENDERING, blank_views, cameras, tiny_model

BANK = TrainingBank(codes=torch.zeros(0, CONFIG.expression), lights=torch.zeros(0, CONFIG.light_directions, 3))


@pytest.fixture(scope="module")
def inversion(known: Known) -> Inversion:
    return invert(known.model, RENDERING, known.views, recipe(inversion=100), BANK)


def test_inversion_explains_its_own_pictures(known: Known, inversion: Inversion) -> None:
    solution = inversion.solution
    assert inversion.losses[-1] < inversion.losses[0] / 5
    assert input_metrics(render_solution(known.model, solution, RENDERING), known.views)["psnr"] > 30.0
    # Two pictures of 32² with light and identity free: the pose is held by the outline, the light by its shading.
    assert float(rotation_angle(solution.rotation[0], known.solution.rotation[0])) < 0.03
    torch.testing.assert_close(solution.translation[0], known.solution.translation[0], atol=2e-3, rtol=0)
    # Random decoders answer to all directions nearly alike, so only the sum of the light is in the pictures.
    assert float(solution.light.sum()) == pytest.approx(float(known.solution.light.sum()), rel=0.1)
    assert float(solution.light.min()) >= 0.0
    assert float((solution.weights - known.solution.weights).abs().max()) < 0.25
    assert float(solution.weights.sum()) == pytest.approx(1.0, abs=1e-4)


def test_inversion_repeats_itself(known: Known) -> None:
    first, second = (invert(known.model, RENDERING, known.views, recipe(inversion=4), BANK) for _ in range(2))
    assert first.losses == second.losses
    assert torch.equal(first.solution.z_id, second.solution.z_id)


def test_poses_and_lenses_of_unplaced_photos(model: VRMM) -> None:
    known = photograph(model, (0.0, 25.0), placed=False)
    views = dataclasses.replace(known.views, focal_known=False)
    found = invert(model, RENDERING, views, recipe(inversion=40, expressions=Expressions.each), BANK)
    assert found.solution.z_e.shape == (2, CONFIG.expression)
    assert found.losses[-1] < found.losses[0] / 2
    assert float((found.solution.cameras.intrinsics[:, 0, 0] / 102.4).log().abs().max()) < 0.7


def test_a_loss_that_is_not_finite_stops_the_fit(known: Known) -> None:
    broken = dataclasses.replace(known.views, images=torch.full_like(known.views.images, float("nan")))
    with pytest.raises(VrmmError, match=r"view0\.png, view1\.png left the finite numbers"):
        invert(known.model, RENDERING, broken, recipe(inversion=2), BANK)


def test_landmarks_are_carried_exactly_by_the_template(model: VRMM) -> None:
    template = model.mesh_decoder.template
    carried = CarriedLandmarks(model)
    torch.testing.assert_close(carried(template[None])[0], model.template_landmarks, atol=1e-6, rtol=0)
    moved = carried(template[None] + torch.tensor([0.0, 0.01, 0.0]))[0]
    torch.testing.assert_close(moved, model.template_landmarks + torch.tensor([0.0, 0.01, 0.0]), atol=1e-6, rtol=0)


def test_the_light_prior_prefers_usual_light(model: VRMM) -> None:
    config = InversionConfig(light_smooth=1.0, light_grey=1.0, light_level=1.0)
    usual = TrainingBank(codes=BANK.codes, lights=torch.full((3, 12, 3), 2.0))
    state = FitState(model.identity_codes.weight, 6, 12, 1, 1)

    def cost(bank: TrainingBank) -> float:
        return float(LightPrior(model.light_sphere, bank, config)(state).detach())

    assert cost(BANK) == pytest.approx(0.0, abs=1e-9)
    # Half as bright as every training light, whose spread is taken as a tenth at least.
    assert cost(usual) == pytest.approx((math.log(2.0) / 0.1) ** 2, rel=1e-4)
    with torch.no_grad():
        state.raw_light[3] = 3.0
    rough = cost(BANK)
    assert rough > 0.1
    with torch.no_grad():
        state.raw_light[:, 0] = 3.0
    assert cost(BANK) > 0.1


def test_the_guess_of_the_light_is_of_its_shape_only() -> None:
    light = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
    guess = LightGuess(light)
    assert float(guess(light)) == 0.0
    assert float(guess(7.0 * light)) == pytest.approx(0.0, abs=1e-9)
    left, right = torch.zeros(64, 3), torch.zeros(64, 3)
    left[0], right[1] = 5.0, 3.0
    assert 0.001 < float(guess(light.flip(0))) < float(LightGuess(left)(right)) <= 1.0
    nowhere = left.clone().requires_grad_(True)
    LightGuess(right)(nowhere).backward()
    assert nowhere.grad is not None
    assert bool(nowhere.grad.isfinite().all())


def test_the_bank_is_of_its_model(known: Known, tmp_path: Path) -> None:
    assert not TrainingBank.of_prior(tmp_path, known.model).has_lights
    tensors = {"codes": torch.randn(7, 6), "lights": torch.rand(7, 12, 3)}
    (tmp_path / FILE).write_bytes(save(tensors))
    bank = TrainingBank.of_prior(tmp_path, known.model)
    drawn = bank.draw_codes(3, torch.Generator().manual_seed(0))
    assert all(any(torch.equal(code, known) for known in tensors["codes"]) for code in drawn)
    assert bank.light_level()[0] == pytest.approx(float(tensors["lights"].mean(dim=(1, 2)).log().mean()), rel=1e-4)
    (tmp_path / FILE).write_bytes(save({**tensors, "codes": torch.randn(7, 5)}))
    with pytest.raises(VrmmError, match="is not of the model"):
        TrainingBank.of_prior(tmp_path, known.model)


def test_locality_keeps_other_identities(known: Known, inversion: Inversion) -> None:
    """The photos are made another colour, which only the decoders can explain."""
    tinted = dataclasses.replace(known.views, images=known.views.images * torch.tensor([0.4, 1.0, 0.7])[:, None, None])
    results = {}
    for weight in (0.0, 1.6):
        settings = recipe(finetune=40)
        settings.finetune.lr, settings.finetune.locality.weight, settings.inversion.light_grey = 3e-3, weight, 1.0
        settings.finetune.locality.samples = 2
        tuned = finetune(known.model, RENDERING, tinted, inversion.solution, settings, BANK)
        others = drift(known.model, tuned.model, tuned.solution, RENDERING, BANK, seed=1)
        fit = input_metrics(render_solution(tuned.model, tuned.solution, RENDERING), tinted)
        results[weight] = others["prior_distance"], fit["psnr"]
    before = input_metrics(render_solution(known.model, inversion.solution, RENDERING), tinted)["psnr"]
    assert results[1.6][0] < 0.7 * results[0.0][0]
    assert results[1.6][1] > before + 1.0


def test_the_prior_says_less_beside_more_photos(
    known: Known, inversion: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Locality, "__call__", lambda *_: torch.tensor(1.0))
    first_loss = {}
    for weight in (0.0, 3.0):
        settings = recipe(finetune=1)
        settings.finetune.locality.weight = weight
        first_loss[weight] = finetune(known.model, RENDERING, known.views, inversion.solution, settings, BANK).losses[0]
    assert first_loss[3.0] - first_loss[0.0] == pytest.approx(3.0 * len(known.views) ** -LOOSER, rel=1e-4)


def test_finetuning_ends_once_the_photos_are_explained(known: Known, inversion: Inversion) -> None:
    """Its pictures are explained from the beginning: the rates fall at once, and as far as at the very end."""
    settings = recipe(finetune=LANDING + 30)
    settings.finetune.enough = 1.0
    heard: list[tuple[int, int]] = []
    tuned = finetune(
        known.model,
        RENDERING,
        known.views,
        inversion.solution,
        settings,
        BANK,
        lambda stage, done, total, loss: heard.append((done, total)),
    )
    assert len(tuned.losses) == LANDING
    assert heard[-1] == (LANDING, LANDING)
    settings.finetune.enough = 1e-9
    never = finetune(known.model, RENDERING, known.views, inversion.solution, settings, BANK)
    assert len(never.losses) == LANDING + 30


def test_one_lucky_step_explains_nothing() -> None:
    stop = EarlyStop(0.1)
    assert not any(stop(loss) for loss in (1.0, 0.05, 0.9, 0.8))
    assert any(stop(0.05) for _ in range(60))
    assert not EarlyStop(0.0)(1e-12)


def test_several_photos_are_explained_by_less_that_is_left() -> None:
    config = FinetuneConfig(enough=0.01)
    assert config.explained(1) == 0.01
    assert 0.004 < config.explained(8) < config.explained(3) < 0.01


def test_rates_fall_from_where_they_are() -> None:
    views = blank_views(cameras((0.0,)), placed=True)
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = ScheduledAdam([{"params": [parameter], "lr": 1.0}], 1000)
    moved = [0.0]
    for step in range(120):
        if step == 20:
            optimizer.finish_within(100)
        optimizer.step(parameter, views)
        moved.append(-float(parameter.detach()))
    rates = np.diff(moved)
    assert (optimizer.done, optimizer.last) == (120, 120)
    # A constant gradient moves Adam by its rate: no jump at the 20th step, and a twentieth is left at the last.
    assert rates[19] == pytest.approx(rates[20], rel=0.01)
    assert (np.diff(rates) < 0.001).all()
    assert rates[-1] == pytest.approx(FINAL_RATE, rel=0.02)


def test_finetuning_changes_only_what_it_may(known: Known, inversion: Inversion) -> None:
    prior = copy.deepcopy(known.model)
    settings = recipe(finetune=3)
    settings.finetune.decoders = ["appearance"]
    tuned = finetune(prior, RENDERING, known.views, inversion.solution, settings, BANK).model
    for (name, before), (_, untouched), (_, after) in zip(
        known.model.named_parameters(), prior.named_parameters(), tuned.named_parameters(), strict=True
    ):
        assert torch.equal(before, untouched), f"the prior's {name} was changed"
        if not name.startswith("appearance_decoder"):
            assert torch.equal(before, after), f"{name} was tuned"
    assert any(
        not torch.equal(a, b)
        for a, b in zip(prior.appearance_decoder.parameters(), tuned.appearance_decoder.parameters(), strict=True)
    )


def test_locality_is_zero_for_the_prior_itself_and_depends_on_the_seed_only(known: Known, inversion: Inversion) -> None:
    config = LocalityConfig(samples=3, image_size=24)

    def term(seed: int) -> Locality:
        return Locality(known.model, RENDERING, config, ImageWeights(), BANK, seed)

    assert float(term(0)(known.model, inversion.solution).detach()) == pytest.approx(0.0, abs=1e-6)
    first, second, other = (term(seed).draw(inversion.solution) for seed in (0, 0, 1))
    assert torch.equal(first.z_id, second.z_id)
    assert not torch.equal(first.z_id, other.z_id)
    assert float(term(0)(tiny_model(seed=3), inversion.solution).detach()) > 0.01


def test_locality_samples_lie_between_the_person_and_training_identities(known: Known, inversion: Inversion) -> None:
    config = LocalityConfig(samples=40, image_size=24, fitted_light=0.0)
    samples = Locality(known.model, RENDERING, config, ImageWeights(), BANK, 0).draw(inversion.solution)
    person, identities = inversion.solution.z_id, known.model.identity_codes.weight
    for z in samples.z_id:
        ends = identities - person
        share = ((z - person) * ends).sum(dim=1) / (ends**2).sum(dim=1)
        distance = (person + share[:, None] * ends - z).norm(dim=1)
        nearest = int(distance.argmin())
        assert float(distance[nearest]) < 1e-4
        assert -1e-4 <= float(share[nearest]) <= 1.0001
    total = inversion.solution.light.sum(dim=0)
    torch.testing.assert_close(samples.light.sum(dim=1), total.expand(40, 3), atol=1e-4, rtol=1e-3)
    yaw = torch.atan2(samples.cameras.centers[:, 0], samples.cameras.centers[:, 2]).rad2deg()
    assert float(yaw.max()) > 30.0
    assert float(yaw.min()) < -30.0
