"""Launches without Slurm: in the background of this machine, and in the terminal."""

import time
from pathlib import Path

import pytest

from slurm.launches import Launch
from slurm.summary import Standing
from tests.integration.launched import ALLOWED_SECONDS, in_folder, newest, rank_process, until_step, vrmm
from tests.integration.training_run import finish, logged, make_data, start, weights_digest

pytestmark = pytest.mark.long

STEPS = 150
SETTINGS = (f"trainer.steps={STEPS}", "trainer.checkpoint_every=10")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    make_data(folder)
    (folder / "resources.yaml").write_text("{cluster: local, tasks_per_node: 2, timeout_min: 10, signal_delay_s: 30}")
    return folder


@pytest.fixture(scope="module")
def undisturbed(work: Path) -> str:
    finish(start(work / "recipe.yaml", work / "undisturbed", *SETTINGS, ranks=2))
    return weights_digest(work / "undisturbed")


def launch(work: Path, out: str) -> Launch:
    vrmm(
        work, "launch", "resources.yaml", "--", "train", "recipe.yaml", "loader.shards=shards", *SETTINGS, "--out", out
    )
    return newest(work)


def until_over(work: Path, launched: Launch) -> Standing:
    deadline = time.monotonic() + ALLOWED_SECONDS
    while time.monotonic() < deadline:
        (row,) = in_folder(work, launched)
        if not row.is_live:
            return row
        time.sleep(0.2)
    raise AssertionError("the job never ended")


def test_a_killed_rank_starts_again_to_the_same_bits(work: Path, undisturbed: str) -> None:
    launched = launch(work, "killed")
    until_step(work / "killed", 14)
    rank_process("killed", 1).kill()
    row = until_over(work, launched)
    assert (row.state, row.restarts) == ("completed", 1)
    assert weights_digest(work / "killed") == undisturbed
    assert [line["step"] for line in logged(work / "killed")] == list(range(1, STEPS + 1))


def test_cancel_saves_and_resume_continues(work: Path, undisturbed: str) -> None:
    launched = launch(work, "cancelled")
    until_step(work / "cancelled", 14)
    assert "1 jobs cancelled" in vrmm(work, "jobs", "cancel", launched.name)
    assert until_over(work, launched).state == "stopped"
    vrmm(work, "jobs", "resume", launched.name)
    assert until_over(work, newest(work)).state == "completed"
    assert weights_digest(work / "cancelled") == undisturbed


def test_in_the_terminal(work: Path) -> None:
    words = ["train", "recipe.yaml", "loader.shards=shards", "trainer.steps=6", "--out", "debug"]
    vrmm(work, "launch", "resources.yaml", "cluster=debug", "tasks_per_node=1", "--", *words)
    (row,) = in_folder(work, newest(work))
    assert (row.state, row.numbers["step"]) == ("completed", 6)
    assert "completed" in vrmm(work, "jobs", "list")


def test_a_recipe_that_fails_is_told_and_not_tried_again(work: Path) -> None:
    words = ["train", "recipe.yaml", "loader.shards=shards", "loader.image_size=16", "--out", "refused"]
    vrmm(work, "launch", "resources.yaml", "--", *words)
    row = until_over(work, newest(work))
    assert (row.state, row.restarts) == ("failed", 0)
    assert "smaller than the encoder needs" in row.message
