"""``python -m tools.bench corruption``: a small count of it, and that it can fail."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets import shard_verify, shards
from datasets.loader import FrameLoader
from tools.bench.__main__ import app
from tools.bench.damage import DAMAGES


def _run(file: Path, count: int, seed: int = 1) -> tuple[int, dict]:
    arguments = ["corruption", "--json", str(file), "--count", str(count), "--seed", str(seed)]
    outcome = CliRunner().invoke(app, arguments)
    return outcome.exit_code, json.loads(file.read_text())


def test_every_damage_is_named_and_costs_what_it_hit(tmp_path: Path) -> None:
    count = 5 * len(DAMAGES)
    status, result = _run(tmp_path / "a.json", count)
    assert status == 0
    assert (result["corruptions"], result["named"], result["skipped_counts_exact"]) == (count, count, True)
    for damage in DAMAGES:
        row = result["kinds"][damage.name]
        assert (row["corruptions"], row["named"], row["exact"]) == (5, 5, 5)
        assert row["samples_lost"] > 0
    assert result["kinds"]["deleted shards"]["samples_lost"] == 5 * 4


def test_what_is_not_found_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement must see a verify that overlooks data, one that names too much, and a loader that miscounts."""
    with monkeypatch.context() as patch:
        patch.setattr(shard_verify._ShardCheck, "problems", lambda check: [])
        status, result = _run(tmp_path / "blind.json", len(DAMAGES))
    assert (status, result["named"]) == (1, 0)
    verify = shards.verify_shards
    with monkeypatch.context() as patch:
        more = shards.Problem(file="noise-000000.tar", message="looks odd")
        patch.setattr(shards, "verify_shards", lambda folder: [*verify(folder), more])
        status, result = _run(tmp_path / "loud.json", len(DAMAGES))
    assert status == 1
    assert result["named"] < len(DAMAGES)
    finish = FrameLoader._finish

    def forgetful(loader, pending):
        batch = finish(loader, pending)
        loader.lost.pop("s0_noise_000003", None)
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(FrameLoader, "_finish", forgetful)
        status, result = _run(tmp_path / "miscounted.json", 3 * len(DAMAGES))
    assert (status, result["named"], result["skipped_counts_exact"]) == (1, 3 * len(DAMAGES), False)
