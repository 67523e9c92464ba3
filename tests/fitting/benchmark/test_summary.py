"""The benchmark's arithmetic on made-up results."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.benchmark.checks import initializer_summary, is_sound
from fitting.benchmark.people import checked_people, chosen_people
from fitting.benchmark.recipe import MOST_CHECKED, MOST_PEOPLE
from fitting.benchmark.summary import set_summary
from fitting.stages import STAGES
from tests.fitting.benchmark.made_up_people import head

HEADS = [head("procedural"), head("ict")]


def result(name: str, shift: float, photos: int) -> dict[str, Any]:
    """Each category has a value of its own, the photos any number of rows."""
    levels = {"novel_view": 20.0, "expression": 23.0, "relight": 17.0}
    rows = [{"category": "input", "camera": "photo0", "light": ""} | values(30.0 + shift + k) for k in range(photos)]
    for category, psnr in levels.items():
        rows += [{"category": category, "camera": "view0", "light": ""} | values(psnr + shift + k) for k in (-1, 1)]
    fit = {"seconds": 10.0 + shift, "pose_degrees": 2.0, "landmark_error": 0.01, "scale": 1.1, "sound": True}
    return {"person": name, "set": "one_image", "rows": rows, "stages": dict.fromkeys(STAGES, fit)}


def values(psnr: float) -> dict[str, Any]:
    row = {"psnr": psnr, "ssim": 0.5, "mae255": 40.0 - psnr, "mask_iou": 0.9}
    return {stage: {**row, "psnr": psnr + index} for index, stage in enumerate(STAGES)}


def test_every_person_counts_alike() -> None:
    found = set_summary([result("a", 0.0, 1), result("b", 2.0, 3)])
    first = found["inversion_only"]
    assert first["novel_view"]["psnr"] == pytest.approx(21.0)
    assert first["input"]["psnr"] == pytest.approx((30.0 + 33.0) / 2)
    assert first["mean_psnr"] == pytest.approx((21.0 + 24.0 + 18.0) / 3)
    assert found["finetuned"]["mean_psnr"] == pytest.approx(22.0)
    assert first["seconds"] == pytest.approx(11.0)
    assert first["sound"] == 1.0


def check(sound: bool, flagged: bool, **steps: Any) -> dict[str, Any]:
    return {"sound": sound, "flagged": flagged, **steps}


def test_the_flag_agrees_where_it_says_what_is_true() -> None:
    found = initializer_summary([check(True, False), check(True, True), check(False, True), check(False, False)])
    assert (found["sound_fits"], found["flag_agrees"], found["of"]) == (2, 2, 4)
    assert found["steps_ratio"] is None


@pytest.mark.parametrize(
    ("steps", "ratio"),
    [([20], 0.1), ([20, 60, 100], 0.3), ([20, 60], 0.3), ([20, 60, None], 0.3), ([20, None, None], None), ([], None)],
)
def test_the_ratio_is_the_median_and_a_loss_never_reached_is_the_worst(steps: list, ratio: float | None) -> None:
    checks = [check(True, False, steps=value, steps_from_mean=200) for value in steps] + [check(True, False)]
    found = initializer_summary(checks)["steps_ratio"]
    assert found == (None if ratio is None else pytest.approx(ratio))
    assert found is None or math.isfinite(found)


def test_soundness_needs_pose_landmarks_and_outline() -> None:
    assert is_sound(3.0, 0.02, 0.95)
    assert not is_sound(40.0, 0.02, 0.95)
    assert not is_sound(3.0, 0.2, 0.95)
    assert not is_sound(3.0, 0.02, 0.6)
    assert is_sound(3.0, 0.02, 0.8, mean_overlap=0.75)
    assert not is_sound(3.0, 0.02, 0.8, mean_overlap=0.9)


@given(few=st.integers(1, 2 * MOST_PEOPLE), more=st.integers(1, 2 * MOST_PEOPLE), kinds=st.integers(1, 2))
def test_more_people_begin_with_the_same(few: int, more: int, kinds: int) -> None:
    heads = HEADS[:kinds]
    few, more = sorted(min(number, MOST_PEOPLE * kinds) for number in (few, more))
    names = [someone.name for someone in chosen_people(heads, more)]
    assert [someone.name for someone in chosen_people(heads, few)] == names[:few]
    assert len(set(names)) == more
    assert [name.partition("_")[0] for name in names] == [heads[k % kinds].name for k in range(more)]
    assert len({someone.name for someone in checked_people(heads, MOST_CHECKED * kinds)}) == MOST_CHECKED * kinds
