"""Recipes: what a typing error costs a user is one clear line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.config import from_dict, load_config, to_dict, to_yaml
from datasets.errors import VrmmError
from prior.recipe import TrainRecipe


def test_yaml_and_overrides_fill_the_dataclass(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("optimizer: {lr: 0.5}\ntrainer: {steps: 7}\n")
    recipe = load_config(TrainRecipe, path, ["trainer.steps=9", "model.primitives=64"])
    assert (recipe.optimizer.lr, recipe.trainer.steps, recipe.model.primitives) == (0.5, 9, 64)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lrr=1", "unknown key optimizer.lrr; did you mean optimizer.lr"),
        ("optimiser.lr=1", "unknown key optimiser; did you mean optimizer"),
        ("trainer.steps=many", "trainer.steps"),
        ("trainer.steps", "key=value"),
        ("trainer=3", "section"),
        ("model.primitives=200", "primitives=200"),
        ("trainer.zero=7", "zero=7"),
        ("loader.on_error=maybe", "on_error"),
    ],
)
def test_errors_name_the_key_in_one_line(override, words):
    with pytest.raises(VrmmError, match=words) as caught:
        load_config(TrainRecipe, None, [override])
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(VrmmError, match="nowhere"):
        load_config(TrainRecipe, tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\n")
    with pytest.raises(VrmmError, match="broken.yaml is not valid YAML"):
        load_config(TrainRecipe, broken)


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-6, 1.0), st.integers(1, 10**6))
def test_recipes_survive_a_round_trip(lr, steps):
    recipe = load_config(TrainRecipe, None, [f"optimizer.lr={lr!r}", f"trainer.steps={steps}"])
    assert to_dict(from_dict(TrainRecipe, to_dict(recipe), "here")) == to_dict(recipe)
    assert "steps: " + str(steps) in to_yaml(recipe)
