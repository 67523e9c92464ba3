"""When a job starts again, and what its ranks say about it."""

import itertools
import json
from pathlib import Path

import pytest

from slurm.outcome import End, Outcome, clear_outcome, overall, read_outcomes, write_outcome
from slurm.restart import RestartPolicy

KILLED, STOPPED, FAILED, COMPLETED = (
    Outcome(end=end, message=end.value) for end in (End.KILLED, End.STOPPED, End.FAILED, End.COMPLETED)
)


def test_the_worst_rank_decides_whatever_its_number() -> None:
    order = [End.COMPLETED, End.STOPPED, End.FAILED, End.KILLED]
    for outcomes in itertools.product((KILLED, STOPPED, FAILED, COMPLETED), repeat=3):
        worst = max((outcome.end for outcome in outcomes), key=order.index)
        assert overall(outcomes).end is worst
        assert overall([*outcomes, None]).end is End.KILLED


def test_outcomes_come_back_from_disk(tmp_path: Path) -> None:
    write_outcome(tmp_path / "s", 1, FAILED)
    assert read_outcomes(tmp_path / "s", 3) == [None, FAILED, None]
    clear_outcome(tmp_path / "s", 1)
    clear_outcome(tmp_path / "s", 1)
    assert read_outcomes(tmp_path / "s", 3) == [None, None, None]


def policy(folder: Path, restarts: int = 2) -> RestartPolicy:
    return RestartPolicy(state=folder / "restarts.json", out=folder / "out", max_restarts=restarts)


def checkpoint(folder: Path, step: int) -> None:
    path = folder / "out" / "checkpoints" / "latest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"step": step}))


def test_without_progress_a_job_starts_again_only_so_often(tmp_path: Path) -> None:
    assert [policy(tmp_path).allows(KILLED) for _ in range(4)] == [True, True, False, False]
    assert policy(tmp_path).restarts == 2
    policy(tmp_path).reset()
    assert policy(tmp_path).allows(KILLED)


@pytest.mark.parametrize("outcome", [KILLED, STOPPED])
def test_with_progress_a_job_starts_again_for_ever(tmp_path: Path, outcome: Outcome) -> None:
    for step in range(1, 20):
        checkpoint(tmp_path, step)
        assert policy(tmp_path).allows(outcome)
    assert policy(tmp_path).allows(outcome)
    assert policy(tmp_path).allows(outcome)
    assert not policy(tmp_path).allows(outcome)
    checkpoint(tmp_path, 20)
    assert policy(tmp_path).allows(outcome)


def test_files_are_progress_of_commands_without_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for index in range(5):
        (tmp_path / "out" / f"{index}").touch()
        assert policy(tmp_path, restarts=0).allows(KILLED)
    assert not policy(tmp_path, restarts=0).allows(KILLED)


def test_a_job_that_failed_by_itself_would_fail_again(tmp_path: Path) -> None:
    assert not policy(tmp_path).allows(FAILED)
    assert not policy(tmp_path).allows(COMPLETED)
    assert not (tmp_path / "restarts.json").exists()
