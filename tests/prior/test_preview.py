"""Preview sheets: what they show, and that training does not notice them."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datasets.loader import LoaderConfig
from datasets.shards import build_shards, open_shards
from prior.pictures import Strip, draw_sheet, error_picture, to_picture
from prior.preview import inference, preview_keys, spread, write_preview
from prior.recipe import TrainRecipe
from prior.render import RenderConfig
from tests.datasets.tiny_capture import TinyCapture
from tests.prior.small_model import SMALL, small_model


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> TrainRecipe:
    folder = tmp_path_factory.mktemp("shards")
    build_shards(TinyCapture(subjects=4, frames=6, size=(24, 24)), folder)
    return TrainRecipe(
        model=SMALL, loader=LoaderConfig(shards=str(folder)), render=RenderConfig(step=0.02, backend="reference")
    )


def test_a_preview_does_not_disturb_training(recipe: TrainRecipe, tmp_path: Path) -> None:
    model = small_model(subjects=3).train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    path = write_preview(model, recipe, tmp_path, 40)
    assert path == tmp_path / "previews" / "step_000040.png"
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert model.training
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_the_same_model_gives_the_same_preview(recipe: TrainRecipe, tmp_path: Path) -> None:
    first = write_preview(small_model(subjects=3), recipe, tmp_path / "a", 1)
    again = write_preview(small_model(subjects=3), recipe, tmp_path / "b", 1)
    assert first.read_bytes() == again.read_bytes()
    sheet = cv2.imread(str(first))
    assert sheet.shape[1] > 4 * 144
    assert sheet.shape[0] > 3 * 144


def test_previews_show_training_frames_of_many_subjects(recipe: TrainRecipe) -> None:
    shards = open_shards(recipe.loader.shards)
    keys = preview_keys(shards, recipe.loader)
    assert {key.split("_")[0] for key in keys} == {"s0", "s1", "s2"}
    assert not any(shards.held_out[shards.sample(key)] for key in keys)


def test_the_mode_comes_back_after_an_error() -> None:
    model = torch.nn.Linear(1, 1).train()
    inside = []
    with contextlib.suppress(ZeroDivisionError), inference(model):
        inside += [model.training, torch.is_grad_enabled(), 1 // 0]
    with inference(model):
        inside += [model.training, torch.is_grad_enabled()]
    assert inside == [False, False]
    assert [model.training, torch.is_grad_enabled()] == [True, True]


def test_numbers_are_spread_evenly() -> None:
    assert spread(10, 5) == [1, 3, 5, 7, 9]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(16, 1) == [8]


def test_display_encoding_of_pictures() -> None:
    radiance = torch.tensor([-1.0, 0.0, 0.5, 4.0]).expand(3, 1, 4)
    assert to_picture(radiance)[0, :, 0].tolist() == [0, 0, round(255 * 0.5 ** (1 / 2.2)), 255]


def test_error_pictures_are_black_outside_the_mask_and_four_times_the_difference() -> None:
    truth = torch.full((3, 1, 2), 0.5)
    image = torch.full((3, 1, 2), (0.5 ** (1 / 2.2) + 0.1) ** 2.2)
    picture = error_picture(image, truth, torch.tensor([[[1.0, 0.0]]]))
    assert picture[0, 0].tolist() == [102, 102, 102]
    assert picture[0, 1].tolist() == [0, 0, 0]


def test_sheets_hold_every_picture_in_reading_order() -> None:
    tones = [40, 80, 120, 160, 200, 240]
    strips = [Strip(pictures=[np.full((4, 4, 3), tone, np.uint8)], caption="x" * 500) for tone in tones]
    sheet = draw_sheet(["only"], strips, across=3, cell=20)
    middle = sheet.reshape(-1, 3)
    places = [np.argwhere((sheet == tone).all(axis=2)) for tone in tones]
    assert all(len(place) >= 400 for place in places), np.unique(middle, axis=0)
    centers = [place.mean(axis=0) for place in places]
    assert centers[0][0] == centers[2][0] < centers[3][0]
    assert centers[0][1] < centers[1][1] < centers[2][1]
    assert centers[0][1] == centers[3][1]
