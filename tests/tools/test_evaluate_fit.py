"""The command vrmm evaluate-fit: its table and sentences, its recipes, and one line for bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from datasets.config import load_config
from datasets.errors import VrmmError
from fitting.benchmark.recipe import BenchmarkConfig, PhotoSet
from fitting.stages import STAGES
from prior.weights import save_weights
from tests.fitting.tiny import RENDERING, tiny_model
from tests.tools.test_evaluate import columns
from tools.evaluate_fit import COLUMNS, DEFAULT_RECIPE, FULL_RECIPE, SETS, fits_table, verdicts
from tools.main import COMMANDS, build_app


def found(levels: dict[str, float]) -> dict[str, Any]:
    """A result in which sets of photos have these PSNRs, and fine-tuning adds one dB, locality another."""
    gains = {"inversion_only": 0.0, "finetuned": 2.0, "finetuned_without_lr": 1.0}
    result: dict[str, Any] = {}
    for name, level in levels.items():
        result[name] = {
            stage: {
                **{
                    category: {"psnr": level + gain, "mae255": 30.0 - level - gain, "ssim": (level + gain) / 40}
                    for category in COLUMNS
                },
                "mean_psnr": level + gain,
                "pose_degrees": 1.5,
                "landmark_error": 0.012,
                "seconds": 61.0,
            }
            for stage, gain in gains.items()
        }
    return result


def test_the_table_has_a_line_for_every_stage_of_every_set() -> None:
    table = columns(fits_table(found({"one_image": 20.0, "video": 23.0})))
    assert table[""] == [f"{label}, {words}" for label in ("one image", "video") for words in STAGES.values()]
    assert table["new light"][1] == "22.00  8.00 0.550"
    assert table["mean dB"] == ["20.00", "22.00", "21.00", "23.00", "25.00", "24.00"]
    assert table["pose"][0] == "1.5°"
    assert table["landmarks"][0] == "1.2 %"
    assert set(SETS) == {photo_set.value for photo_set in PhotoSet}


def test_sentences_say_whether_more_photos_help() -> None:
    result = found({"one_image": 20.0, "three_images": 21.0, "eight_images": 20.5})
    result["three_images"]["finetuned"]["input"]["psnr"] = 15.0
    result["initializer"] = {"steps_ratio": 0.25, "sound_fits": 49, "flag_agrees": 48, "of": 50}
    lines = verdicts(result)
    assert lines[0].startswith("three images against one image: +1.00 dB")
    assert "better in all but photos (-7.00 dB, -1.00 MAE)" in lines[0]
    assert "better in all but" in lines[1]
    assert all(column in lines[1] for column in ("new views", "new expressions", "new light"))
    assert "+2.00 dB from the inversion and +1.00 dB from fine-tuning without locality" in lines[2]
    assert "relative to it: 0.25; 49 of 50 single photos" in lines[-1]
    assert "in every column" in verdicts(found({"one_image": 20.0, "three_images": 21.0}))[0]
    result["initializer"]["steps_ratio"] = None
    assert "never reached" in verdicts(result)[-1]


def test_shipped_recipes_are_the_benchmark_and_more_of_it() -> None:
    default, full = (load_config(BenchmarkConfig, path) for path in (DEFAULT_RECIPE, FULL_RECIPE))
    assert full.people > default.people
    full.people = default.people
    assert full == default
    assert default.checked == 50
    assert default.frames == 60
    assert default.sets == list(PhotoSet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("people=0", "people must be 1 or more"),
        ("sets=[]", "sets some of one_image, three_images, eight_images, video"),
        ("sets=[two_images]", "two_images"),
        ("compared=51", "compared=51 of checked=50"),
        ("truth.expressions=0", "at least one new light"),
        ("frames=1", "frames must be 2 or more"),
    ],
)
def test_bad_settings_are_named(change: str, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        load_config(BenchmarkConfig, DEFAULT_RECIPE, [change])


def run(*words: str) -> VrmmError:
    outcome = CliRunner().invoke(build_app(COMMANDS, "evaluate-fit", debug=True), ["evaluate-fit", *words])
    assert isinstance(outcome.exception, VrmmError), outcome.output
    assert "\n" not in str(outcome.exception)
    return outcome.exception


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    bare = tmp_path / "run"
    save_weights(tiny_model(), RENDERING, bare)
    assert f"has no initializer; train it with: vrmm train-initializer {bare}" in str(run("--prior", str(bare)))
    assert str(tmp_path / "none") in str(run("--prior", str(tmp_path / "none")))
    assert "give --recipe or --full" in str(run("--prior", str(bare), "--full", "--recipe", str(DEFAULT_RECIPE)))
    assert "peopel" in str(run("peopel=3", "--prior", str(bare)))
    assert not (bare / "fits").exists()


def test_the_numbers_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = found({"one_image": 20.0})
    given: dict[str, Any] = {}

    def benchmark(prior: Path, heads: list, config: BenchmarkConfig, out: Path, **more: Any) -> dict[str, Any]:
        given.update(config=config, out=out, heads=heads)
        more["progress"]("fitting", 1, 2)
        return made_up

    monkeypatch.setattr("fitting.fit.Prior.load", lambda prior, initializer: None)
    monkeypatch.setattr("prior.evaluation.run.load_run", lambda prior, shards: "run")
    monkeypatch.setattr("fitting.benchmark.people.head_models", lambda run, specs, config: specs)
    monkeypatch.setattr("fitting.benchmark.run.run_benchmark", benchmark)
    words = ["people=1", "sets=[one_image]", "--prior", str(tmp_path), "--json", str(tmp_path / "f.json")]
    outcome = CliRunner().invoke(
        build_app(COMMANDS, "evaluate-fit"),
        ["evaluate-fit", *words, "--head-model", str(tmp_path / "ict.npz")],
        catch_exceptions=False,
    )
    assert outcome.exit_code == 0, outcome.output
    assert json.loads((tmp_path / "f.json").read_text()) == made_up
    assert given["out"] == tmp_path / "fits"
    assert given["config"].sets == [PhotoSet.one_image]
    assert given["heads"] == ["procedural", str(tmp_path / "ict.npz")]
    assert "fine-tuning is +2.00 dB" in outcome.output
