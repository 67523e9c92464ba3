"""The whole benchmark, small: its form, its fairness between sets of photos, and what an interruption leaves."""

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import fitting.stages
from datasets.errors import VrmmError
from fitting.benchmark.recipe import PhotoSet
from fitting.benchmark.run import run_benchmark
from fitting.stages import STAGES
from tests.fitting.benchmark.made_up_people import MadeUpStage, config, head, make_prior

CATEGORIES = ("input", "novel_view", "expression", "relight")
SETS = ("one_image", "three_images", "eight_images", "video")
NEW = 4 + 2 * 2 + 2
"""Views, lights through both cameras, gestures."""


def run(prior: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return run_benchmark(prior, [head()], config(**changes), out, processes=0, make_stage=MadeUpStage)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prior(tmp_path_factory.mktemp("prior") / "run")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark") / "fits"


@pytest.fixture(scope="module")
def found(prior: Path, out: Path) -> dict[str, Any]:
    return run(prior, out)


def results(out: Path) -> dict[str, Any]:
    return {name: json.loads((out / "people" / "procedural_q02" / name / "result.json").read_text()) for name in SETS}


def test_the_result_has_the_promised_form(found: dict[str, Any], out: Path) -> None:
    assert list(found) == [*SETS, "initializer"]
    for name in SETS:
        assert set(found[name]) == {"inversion_only", "finetuned", "finetuned_without_lr"}
        for stage in STAGES:
            row = found[name][stage]
            for category in CATEGORIES:
                assert all(math.isfinite(row[category][metric]) for metric in ("mae255", "psnr", "ssim"))
            new = [row[category]["psnr"] for category in ("novel_view", "expression", "relight")]
            assert row["mean_psnr"] == pytest.approx(sum(new) / 3)
            assert row["seconds"] > 0
            assert 0 <= row["pose_degrees"] <= 180
            assert math.isfinite(row["landmark_error"])
        spent = {stage: found[name][stage]["seconds"] for stage in STAGES}
        assert spent["inversion_only"] < min(spent["finetuned"], spent["finetuned_without_lr"])
    start = found["initializer"]
    assert (start["of"], start["compared"]) == (2, 1)
    assert 0 <= start["sound_fits"] <= 2
    assert 0 <= start["flag_agrees"] <= 2
    assert json.loads((out / "benchmark.json").read_text()) == found


def test_all_sets_are_judged_on_the_same_pictures(found: dict[str, Any], out: Path) -> None:
    kept, pictures = results(out), {}
    for name in SETS:
        with np.load(out / "people" / "procedural_q02" / name / "pictures.npz") as arrays:
            pictures[name] = arrays["truth"]
    photos = {"one_image": 1, "three_images": 3, "eight_images": 8, "video": 3}
    wanted = [{key: row[key] for key in ("category", "camera", "light")} for row in kept["one_image"]["rows"]][1:]
    assert len(wanted) == NEW
    taken_by = {row["camera"] for row in kept["eight_images"]["rows"] if row["category"] == "input"}
    assert len(taken_by) == 8
    assert not taken_by & {row["camera"] for row in wanted}
    for name in SETS:
        rows, count = kept[name]["rows"], photos[name]
        assert [row["category"] for row in rows[: count + 1]] == ["input"] * count + ["novel_view"]
        assert [{key: row[key] for key in ("category", "camera", "light")} for row in rows[count:]] == wanted
        np.testing.assert_array_equal(pictures[name][count:], pictures["one_image"][1:])
        np.testing.assert_array_equal(pictures[name][0], pictures["one_image"][0])
    # The other photos are of other moments from other sides.
    assert all(np.abs(pictures["eight_images"][k].astype(int) - pictures["one_image"][0]).mean() > 1 for k in (1, 7))


def test_tables_and_sheets_are_written(found: dict[str, Any], out: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((out / "pictures.csv").read_text())))
    assert len(rows) == len(STAGES) * (1 + 3 + 8 + 3 + 4 * NEW)
    own = [
        float(row["psnr"])
        for row in rows
        if (row["set"], row["stage"], row["category"]) == ("three_images", "finetuned", "relight")
    ]
    assert np.mean(own) == pytest.approx(found["three_images"]["finetuned"]["relight"]["psnr"], rel=1e-3)
    fits = list(csv.DictReader(io.StringIO((out / "fits.csv").read_text())))
    assert [(row["set"], row["stage"]) for row in fits] == [(name, stage) for name in SETS for stage in STAGES]
    for name in ("procedural_q02", *(f"procedural_q02_{name}" for name in SETS)):
        assert cv2.imread(str(out / "sheets" / f"{name}.png")) is not None, name


def test_what_is_finished_is_not_done_again(
    found: dict[str, Any], prior: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was done already")

    copy = Path(shutil.copytree(out, tmp_path / "fits"))
    monkeypatch.setattr(fitting.stages, "fit", never)
    monkeypatch.setattr(fitting.stages, "fit_video", never)
    monkeypatch.setattr(MadeUpStage, "truth_image", never)
    assert run(prior, copy) == found
    fewer = run(prior, copy, sets=[PhotoSet.video], checked=0, compared=0)
    assert fewer == {"video": found["video"]}
    # More of them is more of the same: the steps from the mean of the second single photo are what is missing.
    again = run(prior, copy, compared=2)
    assert again["one_image"] == found["one_image"]
    assert again["initializer"]["compared"] == 2


def test_a_fit_that_was_not_measured_is_measured(
    found: dict[str, Any], prior: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Avatars that are whole are kept, with the seconds that they took."""
    copy = Path(shutil.copytree(out, tmp_path / "fits"))
    (copy / "people" / "procedural_q02" / "three_images" / "result.json").unlink()
    monkeypatch.setattr("fitting.fit.invert", lambda *_, **__: pytest.fail("inverted again"))
    monkeypatch.setattr("fitting.fit.finetune", lambda *_, **__: pytest.fail("fine-tuned again"))
    assert run(prior, copy) == found


def test_results_of_something_else_are_not_continued(prior: Path, out: Path, found: dict, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match=r"other options \(frames was 3 and is 4 now\); choose another --out"):
        run(prior, out, frames=4)
    with pytest.raises(VrmmError, match="people=9 is more than the 8 that there are"):
        run(prior, out, people=9)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    with pytest.raises(VrmmError, match="holds something that is no benchmark of fits"):
        run(prior, tmp_path / "mine")
    bare = Path(shutil.copytree(prior, tmp_path / "bare", ignore=shutil.ignore_patterns("initializer")))
    with pytest.raises(VrmmError, match=f"has no initializer; train it with: vrmm train-initializer {bare}"):
        run(bare, tmp_path / "new")
    assert not (tmp_path / "new" / "settings.json").exists()
