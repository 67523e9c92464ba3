"""Recipes that ship are found from anywhere, and a file of one's own comes first."""

from pathlib import Path

import pytest

from datasets.config import find_recipe

ROOT = Path(__file__).parent.parent.parent


def test_shipped_recipes_are_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))
    assert recipes, "no recipe ships"
    for recipe in recipes:
        assert find_recipe(recipe) == ROOT / recipe
    mine = tmp_path / recipes[0]
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert find_recipe(recipes[0]).resolve() == mine


def test_a_missing_recipe_keeps_its_name() -> None:
    assert find_recipe("configs/nowhere.yaml") == Path("configs/nowhere.yaml")
