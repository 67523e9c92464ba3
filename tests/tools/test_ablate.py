"""vrmm ablate without its trainings: what is run, what is kept, what an interruption leaves."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tools.ablate as command
from prior.evaluation.plan import EvaluationConfig
from tools.main import COMMANDS, build_app


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were trained, in order."""
    names: list[str] = []

    def train(config: Path, changes: list[str], run: Path) -> None:
        names.append(run.name)
        run.mkdir(parents=True)
        if run.name == "calibration":
            rows = [{"step": step, "seconds": 0.5} for step in range(1, 61)]
            (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            (run / "changes").write_text(" ".join(changes))

    def evaluate(run: Path, report, truth_folder: Path, config: EvaluationConfig) -> None:
        rows = {name: {"psnr": 20.0 + len(run.name)} for name in command.COLUMNS}
        (run / "evaluation.json").write_text(json.dumps(rows))

    monkeypatch.setattr(command, "_train", train)
    monkeypatch.setattr("prior.evaluate.evaluate", evaluate)
    return names


def run(*words: str) -> str:
    found = CliRunner().invoke(build_app(COMMANDS, "ablate"), ["ablate", *words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_every_variant_gets_the_steps_of_the_full_model(tmp_path: Path, trained: list[str]) -> None:
    words = ["configs/prior/quick.yaml", "--minutes", "2", "--seeds", "2", "--out", str(tmp_path)]
    run(*words, "--json", str(tmp_path / "t.json"))
    assert trained[:2] == ["calibration", "full_0"]
    assert len(trained) == 1 + 6 + 2
    assert "losses.kl=0 seed=0 trainer.steps=240" in (tmp_path / "without_kl_0" / "changes").read_text()
    table = json.loads((tmp_path / "t.json").read_text())
    assert table == json.loads((tmp_path / "ablation.json").read_text())
    assert len(table["full"]["seeds"]) == 2
    assert len(table["without_kl"]["seeds"]) == 1


def test_what_is_done_is_not_done_again(tmp_path: Path, trained: list[str]) -> None:
    words = ["configs/prior/quick.yaml", "--variant", "full", "--variant", "without_kl", "--out", str(tmp_path)]
    run(*words, "--only", "without_kl_0")
    assert trained == ["calibration", "without_kl_0"]
    assert not (tmp_path / "ablation.json").exists()
    assert "without kl" in run(*words)
    assert trained == ["calibration", "without_kl_0", "full_0"]
    run(*words)
    assert len(trained) == 3
