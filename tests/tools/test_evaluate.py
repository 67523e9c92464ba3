"""The tables of vrmm evaluate and vrmm ablate: what is measured is shown, in its own column."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from prior.evaluation.plan import EvaluationConfig
from tools.ablate import codes_table
from tools.evaluate import LABELS, evaluation_table
from tools.main import COMMANDS, build_app

ROW = {"psnr": 27.25, "ssim": 0.912, "mae255": 6.5}


def result(**changes: Any) -> dict[str, Any]:
    rows: dict[str, Any] = {
        name: {**ROW, "mean_light": {**ROW, "psnr": 20.5}, "mean_image": {**ROW, "psnr": 18.5}} for name in LABELS
    }
    rows["identity_interpolation"]["first"] = {**ROW, "psnr": 15.25}
    pose = {"rotation_degrees": 1.5, "translation_mm": 2.0, "still_rotation_degrees": 7.0, "still_translation_mm": 6.0}
    return {**rows, "mask_iou": 0.975, "pose": {**pose, "frames": 9}, **changes}


def leakage(accuracy: float) -> dict[str, float]:
    return {
        "identity_accuracy": accuracy,
        "identity_accuracy_of_truth": 0.22,
        "identity_chance": 0.06,
        "light_direction_r2": 0.31,
        "brightness_r2": 0.42,
        "identity_code_r2": -0.01,
        "expression_r2": 0.83,
        "expression_of_others_r2": 0.74,
        "frames": 256,
    }


def shown(table: Table) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def columns(table: Table) -> dict[str, list[str]]:
    return {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}


def test_a_column_for_what_was_measured() -> None:
    found = columns(evaluation_table(result()))
    assert "LPIPS" not in found
    assert "neutral" not in found
    assert found["first alone"] == [""] * (len(LABELS) - 1) + ["15.2"]
    learned = result()
    for name in LABELS:
        learned[name] = {**learned[name], "lpips": 0.125}
    assert columns(evaluation_table(learned))["LPIPS"] == ["0.125"] * len(LABELS)


def test_codes_and_trembling_are_in_words() -> None:
    assert "probe" not in shown(evaluation_table(result()))
    jitter = {"primitive_mm": 1.234, "true_mm": 0.5, "frames": 4}
    text = " ".join(shown(evaluation_table(result(leakage=leakage(0.57), jitter=jitter))).split())
    assert "identity 57% (from the true expression 22%, chance 6%), light direction R² 0.31" in text
    assert "expression R² 0.83 (of new people 0.74)" in text
    assert "is 1.23 mm, that of the true surface 0.50 mm" in text


def test_an_ablation_shows_transfer_and_codes_of_every_variant() -> None:
    transfer = {**ROW, "mae255": 7.5, "neutral": {**ROW, "mae255": 9.5}}
    table = {
        "full": result(leakage=leakage(0.5), expression_transfer=transfer),
        "without_consistency": result(leakage=leakage(0.9)),
        "old": {"held_out_light": ROW},
    }
    found = columns(codes_table(table))
    assert found["transfer"] == ["7.50", "6.50", ""]
    assert found["neutral"] == ["9.50", "", ""]
    assert found["who"] == ["0.50", "0.90", ""]
    assert found["others"] == ["0.74", "0.74", ""]
    assert found[""] == ["full", "without consistency", "old"]


def test_the_weights_of_lpips_reach_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[EvaluationConfig] = []

    def evaluate(run: Path, report, *, config: EvaluationConfig, shards, processes) -> dict[str, Any]:
        given.append(config)
        return json.loads(json.dumps(result()))

    monkeypatch.setattr("prior.evaluate.evaluate", evaluate)
    app = build_app(COMMANDS, "evaluate")
    found = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--lpips-weights", "some/folder"])
    assert found.exit_code == 0, found.output
    assert given[0].lpips_weights == "some/folder"
    assert "without LPIPS" not in found.output
    found = CliRunner().invoke(app, ["evaluate", str(tmp_path)])
    assert given[1].lpips_weights == ""
    assert "without LPIPS" in found.output
