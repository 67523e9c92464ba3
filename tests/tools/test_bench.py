"""``python -m tools.bench raymarch``: the numbers that docs/benchmarks.md promises."""

import json

import pytest
from typer.testing import CliRunner

from prior.raymarch import available_backends
from tools.bench import raymarch as benchmark
from tools.bench import raymarch_sweep
from tools.bench.__main__ import app
from tools.bench.ellipsoid import ellipsoid_scene


def test_the_scene_is_head_like():
    scene = ellipsoid_scene(images=1, size=24, steps=64, primitives=256, voxels=2)
    from prior.raymarch import raymarch

    alpha = raymarch(**vars(scene), backend="reference")[..., 3]
    assert 0.4 < (alpha > 0).float().mean() < 0.6
    assert 0.5 < (alpha >= 1).float().mean() / (alpha > 0).float().mean() < 1.0


def test_json_has_every_backend_and_the_ratio(monkeypatch, tmp_path):
    tiny = {"images": 1, "size": 8, "steps": 8, "primitives": 8, "voxels": 2}
    monkeypatch.setattr(benchmark, "_IMAGE", tiny)
    monkeypatch.setattr(benchmark, "_TRAINING", {**tiny, "images": 2})
    file = tmp_path / "raymarch.json"
    outcome = CliRunner().invoke(app, ["raymarch", "--json", str(file), "--threads", "1", "--rounds", "1"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(file.read_text())
    assert set(result["backends"]) == set(available_backends("cpu"))
    for times in (*result["backends"].values(), result["training"]):
        assert times["total_ms"] == pytest.approx(times["forward_ms"] + times["backward_ms"])
        assert 0 < times["total_ms"] <= times["median_total_ms"]
    assert result["machine"]["threads"] == 1
    if "cpu" in result["backends"]:
        ratio = result["backends"]["reference"]["total_ms"] / result["backends"]["cpu"]["total_ms"]
        assert result["cpu_over_reference"] == pytest.approx(ratio)


def test_sweep_times_every_backend_and_compares_with_the_reference(monkeypatch):
    rows = raymarch_sweep.sweep(1, primitives=(8, 32), sizes=(8,))
    assert {(row["primitives"], row["backend"]) for row in rows} >= {(8, "reference"), (32, "reference")}
    assert all(row["forward_ms"] > 0 and row["backward_ms"] > 0 for row in rows)
    monkeypatch.setattr(raymarch_sweep, "REFERENCE_PAIRS", 8 * 64)
    limited = raymarch_sweep.sweep(1, primitives=(8, 32), sizes=(8,))
    assert [row["primitives"] for row in limited if row["backend"] == "reference"] == [8]
    table = raymarch_sweep.sweep_table(
        [
            {"primitives": 8, "size": 8, "backend": "cpu", "forward_ms": 1.0, "backward_ms": 3.0},
            {"primitives": 8, "size": 8, "backend": "reference", "forward_ms": 50.0, "backward_ms": 150.0},
        ]
    )
    assert list(table.columns[-1].cells) == ["50×", ""]


def test_commands_are_called_as_the_documents_call_them():
    outcome = CliRunner().invoke(app, ["train_step", "--help"])
    assert outcome.exit_code == 0, outcome.output
    assert "recipe" in outcome.output
