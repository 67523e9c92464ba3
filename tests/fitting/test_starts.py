"""Starts of an inversion: the loss decides how many are tried, and the best of them stays."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.diagnostics import judge, landmark_error
from fitting.fit import Prior, fit
from fitting.initializer.benchmark import compare_steps
from fitting.initializer.crop import face_squares, to_crop, to_crop_camera
from fitting.initializer.detect import Faces
from fitting.initializer.network import AnswerSizes, InitializerNetwork, Prediction
from fitting.initializer.recipe import NetworkConfig
from fitting.initializer.start import start_from_network
from fitting.initializer.storage import Initializer, save_initializer
from fitting.inversion import Inversion, invert
from fitting.objective import LightGuess
from fitting.pose import USUAL_FIELD
from fitting.recipe import Expressions
from fitting.rendering import render_solution
from fitting.starts import possible_starts
from prior.metrics import rotation_angle
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM
from prior.weights import load_weights, save_weights
from tests.fitting.conftest import Known, photograph, recipe
from tests.fitting.test_fit import write_photos
from tests.fitting.tiny import CONFIG, RENDERING, with_pictures

BANK = TrainingBank(codes=torch.zeros(0, CONFIG.expression), lights=torch.zeros(0, CONFIG.light_directions, 3))
SIZES = AnswerSizes(subjects=5, expression=CONFIG.expression, directions=CONFIG.light_directions)
SMALL = NetworkConfig(size=32, channels=[4, 4, 4, 4], features=4)


class Knowing(InitializerNetwork):
    """Answers with the truth about photos, but for the distance and what is given as ``off``."""

    def __init__(self, known: Known, off: float = 0.0) -> None:
        super().__init__(SMALL, SIZES)
        self.eval()
        self._known, self._off = known, off

    def forward(self, picture: Tensor, hint: Tensor | None = None) -> Prediction:
        solution, views = self._known.solution, self._known.views
        count = len(picture)
        squares = face_squares(views.landmarks)
        focal = views.cameras.intrinsics[:, 0, 0]
        turn = to_crop_camera(squares[:, :2] - views.cameras.intrinsics[:, :2, 2], focal, torch.zeros(count))
        return Prediction(
            landmarks=to_crop(views.landmarks, squares, torch.zeros(count)),
            spread=torch.full((count, 68), 0.01),
            rotation=turn @ views.cameras.world_to_camera[:, :, :3] @ solution.rotation,
            log_field=(squares[:, 2] / 2 / focal).log(),
            blend=solution.weights.expand(count, -1),
            z_e=solution.z_e.expand(count, -1) + self._off,
            light=solution.light.expand(count, -1, 3),
            face=torch.full((count,), 5.0),
        )


def initializer_of(known: Known, off: float = 0.0) -> Initializer:
    return Initializer(network=Knowing(known, off), sha256="x", description={})


def test_what_the_network_says_is_where_the_fit_begins(known: Known) -> None:
    network = Knowing(known)
    state, views = start_from_network(network, known.model, known.views, Expressions.shared)
    found, true = state.solution(views).detached(), known.solution
    torch.testing.assert_close(found.weights, true.weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.z_e, true.z_e, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.light, true.light, atol=1e-5, rtol=1e-3)
    # The pose comes from landmarks of this identity and expression, which are exact.
    assert float(rotation_angle(found.rotation[0], true.rotation[0])) < 0.01
    torch.testing.assert_close(found.translation[0], true.translation[0], atol=1e-3, rtol=0)


def test_every_photo_keeps_its_own_pose_lens_and_expression(model: VRMM) -> None:
    known = photograph(model, (0.0, 25.0), placed=False)
    views = dataclasses.replace(known.views, focal_known=False)
    state, seen = start_from_network(Knowing(known), model, views, Expressions.each)
    assert state.z_e.shape == (2, CONFIG.expression)
    solution = state.solution(seen).detached()
    # The lens is held near a portrait's, which is a little too short; the landmarks, which are exact, say so.
    portrait = 16.0 / math.tan(USUAL_FIELD / 2.0)
    lenses = solution.cameras.intrinsics[:, 0, 0]
    assert (lenses > portrait).all()
    assert (lenses < 102.4).all()
    assert float(rotation_angle(solution.rotation, known.solution.rotation).max()) < 0.02


def test_several_photos_take_more_steps(model: VRMM) -> None:
    """Each has a pose and an expression of its own to be found."""
    known = photograph(model, (0.0, 25.0, -25.0, 40.0), placed=False)
    settings = recipe(inversion=8)
    settings.inversion.informed_steps, settings.inversion.starts = 3, 1
    found = invert(known.model, RENDERING, known.views, settings, BANK, None, initializer_of(known))
    assert len(found.losses) == round(3 * 4**0.75)


def test_the_network_saves_steps(model: VRMM) -> None:
    """From nearly the truth a few steps explain a photo better than as many from the mean."""
    known = photograph(model, (0.0,), placed=False)
    settings = recipe(inversion=8)
    settings.inversion.informed_steps, settings.inversion.starts = 8, 1
    informed = invert(known.model, RENDERING, known.views, settings, BANK, None, initializer_of(known, off=0.05))
    blind = invert(known.model, RENDERING, known.views, settings, BANK)
    assert list(informed.starts) == ["network"]
    assert list(blind.starts) == ["mean"]
    assert informed.photo[-1] < 0.5 * blind.photo[-1]
    assert len(informed.photo) == 1 + settings.inversion.informed(1)


def test_landmarks_lead_one_photo_as_long_as_its_start_says(model: VRMM) -> None:
    known = photograph(model, (0.0,), placed=False)

    def losses(*, fade: float, informed_fade: float, initializer: Initializer | None) -> list[float]:
        settings = recipe(inversion=6)
        settings.inversion = dataclasses.replace(
            settings.inversion, informed_steps=3, starts=1, fade=fade, informed_fade=informed_fade
        )
        return invert(known.model, RENDERING, known.views, settings, BANK, None, initializer).losses

    informed = initializer_of(known, off=0.05)
    alone = losses(fade=0.5, informed_fade=0.0, initializer=informed)
    assert alone == losses(fade=0.0, informed_fade=0.0, initializer=informed)
    assert alone[0] < losses(fade=0.5, informed_fade=0.5, initializer=informed)[0]
    assert losses(fade=0.5, informed_fade=0.0, initializer=None) == losses(
        fade=0.5, informed_fade=0.5, initializer=None
    )
    with pytest.raises(VrmmError, match="informed_fade are shares of the steps"):
        dataclasses.replace(recipe().inversion, informed_fade=1.5)


def test_landmarks_lead_several_photos_to_the_end(known: Known) -> None:
    """Whatever the start, and whatever one photo alone would do."""

    def losses(weight: float, fade: float, initializer: Initializer | None) -> list[float]:
        settings = recipe(inversion=6)
        settings.inversion = dataclasses.replace(
            settings.inversion, informed_steps=4, starts=1, fade=fade, informed_fade=fade, several_landmarks=weight
        )
        return invert(known.model, RENDERING, known.views, settings, BANK, None, initializer).losses

    for initializer in (None, initializer_of(known, off=0.05)):
        led = losses(10.0, 0.0, initializer)
        assert led == losses(10.0, 0.5, initializer)
        assert led[0] > losses(0.0, 0.0, initializer)[0]
        assert led[-1] != losses(0.0, 0.0, initializer)[-1]


def test_landmarks_hold_a_head_from_going_astray_and_no_more(model: VRMM) -> None:
    """The picture says one thing and the landmarks another, 2 of 32 pixels away; within the slack they say nothing."""
    known = photograph(model, (0.0,), placed=False)

    def inverted(astray: float, slack: float, shift: float) -> Inversion:
        settings = recipe(inversion=6)
        settings.inversion = dataclasses.replace(
            settings.inversion, informed_steps=20, starts=1, informed_fade=0.0, astray=astray, slack=slack
        )
        views = dataclasses.replace(known.views, landmarks=known.views.landmarks + shift)
        return invert(known.model, RENDERING, views, settings, BANK, None, initializer_of(known, off=0.05))

    def distance(found: Inversion, shift: float) -> float:
        views = dataclasses.replace(known.views, landmarks=known.views.landmarks + shift)
        return landmark_error(known.model, found.solution, views)

    assert inverted(10.0, 1.0, 2.0).losses == inverted(0.0, 0.0, 2.0).losses
    held, free = (distance(inverted(astray, 0.02, 2.0), 2.0) for astray in (10.0, 0.0))
    assert held < 0.5 * free
    assert held < 0.04  # twice the slack


def test_the_light_stays_near_to_what_the_network_saw(known: Known) -> None:
    guessed = known.solution.light.roll(3, dims=0)

    def distance(weight: float, initializer: Initializer | None) -> float:
        settings = recipe(inversion=10)
        settings.inversion = dataclasses.replace(
            settings.inversion, informed_steps=10, starts=1, light_smooth=0.0, light_grey=0.0, light_guess=weight
        )
        found = invert(known.model, RENDERING, known.views, settings, BANK, None, initializer)
        return float(LightGuess(guessed)(found.solution.light))

    wrong = dataclasses.replace(known, solution=dataclasses.replace(known.solution, light=guessed))
    informed = initializer_of(wrong)
    assert distance(10.0, informed) < 0.3 * distance(0.0, informed)
    assert distance(10.0, None) == distance(0.0, None)


@pytest.mark.parametrize(("enough", "tried"), [(math.inf, ["network"]), (0.0, ["network", "mean", "look-alike"])])
def test_other_starts_are_tried_when_the_loss_says_so(known: Known, enough: float, tried: list[str]) -> None:
    settings = recipe(inversion=3)
    settings.inversion.informed_steps, settings.inversion.enough = 3, enough
    found = invert(known.model, RENDERING, known.views, settings, BANK, None, initializer_of(known, off=3.0))
    assert list(found.starts) == tried
    assert found.photo[-1] == min(found.starts.values())


def test_the_most_similar_identity_is_found(model: VRMM) -> None:
    known = photograph(model, (0.0,))
    person = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0])
    solution = dataclasses.replace(
        known.solution, weights=person, z_id=model.identity_codes.weight[3:4], z_e=torch.zeros(1, CONFIG.expression)
    )
    rendered = render_solution(model, solution, RENDERING)
    views = with_pictures(known.views, rendered.image.clamp(min=0.0), rendered.alpha, known.views.landmarks)
    starts = possible_starts(model, RENDERING, views, recipe(), BANK, None)
    assert [start.name for start in starts] == ["mean", "look-alike"]
    state, _ = starts[1].make()
    torch.testing.assert_close(state.blend.detach(), person, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def initialized(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an initializer that was never trained."""
    run = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("initialized") / "run"))
    torch.manual_seed(0)
    save_initializer(run, InitializerNetwork(SMALL, SIZES), Prior.load(run).sha256, {})
    return run


def test_an_initializer_is_used_where_there_is_one(initialized: Path, run_folder: Path) -> None:
    assert Prior.load(initialized).initializer is not None
    without = Prior.load(initialized, initializer=False)
    assert without.initializer is None
    # Avatars and inversions of one are not taken for those of the other.
    assert Prior.load(initialized).fingerprint != without.fingerprint == Prior.load(run_folder).fingerprint
    with pytest.raises(VrmmError, match="has no initializer; train it with: vrmm train-initializer"):
        Prior.load(run_folder, initializer=True)


def test_photos_need_no_landmarks(
    known: Known, initialized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_photos(known, tmp_path)
    photo = given.photos[0]
    photo.with_name("view0.lmk.npz").unlink()
    settings = recipe(inversion=2, finetune=0)
    settings.inversion.informed_steps = 2

    def faces(count: int):
        points = known.views.landmarks[:1].expand(count, 68, 2) + 5.0 * torch.arange(count)[:, None, None]
        return lambda network, picture: Faces(
            landmarks=points, confidence=torch.ones(count, 68), score=torch.ones(count)
        )

    place = "fitting.initializer.landmarks.find_faces"
    monkeypatch.setattr(place, faces(1))
    avatar = fit([photo], initialized, settings, tmp_path / "avatar")
    assert (
        avatar.description["initializer"]
        == json.loads((initialized / "initializer" / "initializer.json").read_text())["weights"]
    )
    assert "network" in avatar.report["starts"]
    monkeypatch.setattr(place, faces(0))
    with pytest.raises(VrmmError, match="initializer sees no face"):
        fit([photo], initialized, settings, tmp_path / "none")
    monkeypatch.setattr(place, faces(2))
    with pytest.raises(VrmmError, match="choose one with --face"):
        fit([photo], initialized, settings, tmp_path / "two")


def test_a_prior_that_was_trained_on_makes_its_initializer_stale(initialized: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(initialized, tmp_path / "run"))
    model, _, _ = load_weights(run)
    with torch.no_grad():
        model.identity_codes.weight.add_(0.01)
    save_weights(model, RENDERING, run)
    with pytest.raises(VrmmError, match="belongs to other weights of the prior"):
        Prior.load(run)
    assert np.isfinite(Prior.load(run, initializer=False).model.identity_codes.weight.detach().numpy()).all()


def test_steps_to_the_same_loss_are_compared(known: Known) -> None:
    """At half the resolution losses are others: those of the mean's first steps do not count."""

    def curve(*photo: float) -> Inversion:
        return Inversion(solution=known.solution, losses=[], photo=list(photo))

    mean = curve(0.9, 0.05, 0.3, 0.2, 0.1)
    saved = compare_steps(mean, curve(0.4, 0.101, 0.1), coarse=2)
    assert (saved.target, saved.mean_steps, saved.informed_steps) == (0.1, 4, 1)
    assert saved.ratio == pytest.approx(0.25)
    assert compare_steps(mean, curve(0.4, 0.2, 0.11), coarse=2).ratio is None


def test_a_wrong_pose_is_told_by_the_landmarks(known: Known) -> None:
    good = landmark_error(known.model, known.solution, known.views)
    assert good < 1e-4
    sound = {"mask_iou": 0.97, "psnr": 30.0}
    assert judge(sound, {"mask_iou": 0.95, "psnr": 21.0}, good) == []
    turn = rotation_from_axis_angle(torch.tensor([[0.0, 0.5, 0.0]]))
    turned = dataclasses.replace(known.solution, rotation=known.solution.rotation @ turn)
    reasons = judge(sound, {"mask_iou": 0.95, "psnr": 21.0}, landmark_error(known.model, turned, known.views))
    assert len(reasons) == 1
    assert "the head is not where the landmarks are" in reasons[0]
    assert "by the inversion" in judge(sound, {"mask_iou": 0.7, "psnr": 21.0}, good)[0]
