"""A run folder is continued by its own model on its own rig, and by nothing else."""

import dataclasses

import numpy as np
import pytest

from datasets.config import load_config, to_yaml
from datasets.errors import VrmmError
from prior.continuing import check_continues, remember_data
from prior.recipe import TrainRecipe
from prior.runfolder import describe_run
from tests.datasets.tiny_capture import TinyCapture, look_at_origin

RECIPE = load_config(
    TrainRecipe, None, ["model.primitives=64", "model.channels=[16,12,8]", "model.light_channels=[8,8,8]"]
)
INFO = TinyCapture().info
SUBJECTS = ("s0", "s1")


@pytest.fixture
def begun(tmp_path):
    describe_run(tmp_path, to_yaml(RECIPE), {})
    remember_data(tmp_path, INFO, SUBJECTS)
    return tmp_path


def with_cameras(*cameras):
    return dataclasses.replace(INFO, cameras=cameras)


def test_the_same_run_continues_with_other_steps_and_rates(begun):
    other = load_config(TrainRecipe, begun / "recipe.yaml", ["trainer.steps=9", "optimizer.lr=1e-4", "losses.kl=0"])
    check_continues(begun, other, INFO, SUBJECTS)


def test_a_run_folder_of_before_is_not_refused(tmp_path):
    check_continues(tmp_path, RECIPE, INFO, SUBJECTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.light_directions=32", "model.light_directions=64, not 32"),
        ("template_resolution=17", "template_resolution=33, not 17"),
        ("cameras.gain=true", "cameras="),
        ("optimizer.muon=0.4", "optimizer.muon=0.0, not 0.4"),
    ],
)
def test_another_model_is_refused_by_what_differs(begun, change, words):
    with pytest.raises(VrmmError, match="cannot be continued") as error:
        check_continues(begun, load_config(TrainRecipe, begun / "recipe.yaml", [change]), INFO, SUBJECTS)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (with_cameras(*INFO.cameras[1:]), "lack its camera back"),
        (with_cameras(*INFO.cameras, look_at_origin("new", (1, 1, 1), width=16, height=12)), "a camera new"),
        (with_cameras(look_at_origin("back", (0, 1, 1), width=16, height=12), *INFO.cameras[1:]), "back stands else"),
        (dataclasses.replace(INFO, light_positions=np.array([[0.0, 1.0, 1.0]])), "other lamps"),
    ],
)
def test_shards_of_another_rig_are_refused(begun, info, words):
    with pytest.raises(VrmmError, match=words):
        check_continues(begun, RECIPE, info, SUBJECTS)


def test_shards_of_other_people_are_refused(begun):
    with pytest.raises(VrmmError, match="2 people of tiny, not these 3"):
        check_continues(begun, RECIPE, INFO, ("s0", "s1", "s2"))
