"""How jobs stand, with a scheduler that remembers them and without."""

import json
import os
import sys
from pathlib import Path

import pytest

from datasets.errors import VrmmError
from slurm.commands import Command
from slurm.config import LaunchConfig
from slurm.job import last_error
from slurm.launches import Launch, all_launches
from slurm.outcome import End, Outcome, write_outcome
from slurm.states import is_live, job_states, local_job_runs
from slurm.summary import live_writer, standings, summary_csv
from slurm.sweep import Element


def program(folder: Path, name: str, text: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
    path.chmod(0o755)


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for made-up Slurm programs, first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def launch_of(root: Path, job_ids: list[str], out: Path = Path("runs/a")) -> Launch:
    elements = [
        Element(name=f"e{index}", command=Command.parse(["train", "a.yaml", "--out", str(out / str(index))]))
        for index in range(len(job_ids))
    ]
    launch = Launch.create(root, LaunchConfig(tasks_per_node=2), elements)
    launch.job_ids[:] = job_ids
    launch.save()
    return launch


def test_states_with_and_without_accounting(scheduler: Path) -> None:
    program(scheduler, "squeue", "7_0|RUNNING\n7_1|PENDING", status=1)
    program(scheduler, "sacct", "7_2|CANCELLED by 1000\n7_3|COMPLETED")
    assert job_states("slurm", ["7_0", "7_1", "7_2", "7_3", "7_4", ""]) == {
        "7_0": "RUNNING",
        "7_1": "PENDING",
        "7_2": "CANCELLED",
        "7_3": "COMPLETED",
    }
    program(scheduler, "sacct", "Slurm accounting storage is disabled", status=1)
    assert job_states("slurm", ["7_0", "7_2"]) == {"7_0": "RUNNING"}
    assert is_live("PENDING")
    assert is_live("COMPLETING")
    assert not is_live("TIMEOUT")


def test_ranks_know_what_the_scheduler_has_forgotten(tmp_path: Path, scheduler: Path) -> None:
    program(scheduler, "squeue", "5_3|RUNNING\n5_4|TIMEOUT")
    program(scheduler, "sacct", "", status=1)
    launch = launch_of(tmp_path / "jobs", [f"5_{index}" for index in range(6)], tmp_path)
    done, error = Outcome(end=End.COMPLETED), Outcome(end=End.FAILED, message="no such shard")
    for rank in range(2):
        write_outcome(launch.status(0), rank, done)
    write_outcome(launch.status(1), 0, error)
    write_outcome(launch.status(1), 1, Outcome(end=End.STOPPED))
    write_outcome(launch.status(2), 0, done)  # the other rank wrote nothing
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "metrics.jsonl").write_text('{"step": 1, "total": 3.5, "kl": 1}\n{"step": 2, "total": 2.5}\n{"st')
    rows = standings(Launch.load(launch.folder))
    assert [row.state for row in rows] == ["completed", "failed", "killed", "running", "timeout", "lost"]
    assert [row.message for row in rows] == ["", "no such shard", "rank 1 vanished", "", "", ""]
    assert rows[3].numbers == {"step": 2, "total": 2.5}
    lines = summary_csv(rows).splitlines()
    assert lines[0] == "name,job,state,restarts,step,total,message"
    assert lines[2] == "e1,5_1,failed,0,,,no such shard"
    assert live_writer([launch], tmp_path / "3") == f"job 5_3 of launch {launch.name}"
    assert live_writer([launch], tmp_path / "0") is None


def test_launches_are_numbered_and_kept(tmp_path: Path, scheduler: Path) -> None:
    assert all_launches(tmp_path / "jobs") == []
    first, second = (launch_of(tmp_path / "jobs", ["1", "2"]) for _ in range(2))
    assert [launch.name for launch in (first, second)] == ["1", "2"]
    (tmp_path / "jobs" / "3").mkdir()  # killed before it was written
    again = all_launches(tmp_path / "jobs")
    assert again == [first, second]
    assert again[0].index_of_job("2") == 1
    with pytest.raises(VrmmError, match="has no job 9"):
        again[0].index_of_job("9")
    with pytest.raises(VrmmError, match="there is no launch 3 here"):
        Launch.load(tmp_path / "jobs" / "3")
    text = json.loads((first.folder / "launch.json").read_text())
    (first.folder / "launch.json").write_text(json.dumps(text | {"version": 9}))
    with pytest.raises(VrmmError, match="is of version 9"):
        Launch.load(first.folder)


def test_another_process_with_the_number_of_a_local_job_is_not_it() -> None:
    assert not local_job_runs(str(os.getpid()))
    assert not local_job_runs("no number")
    assert sys.executable


def test_the_last_error_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.err"
    assert last_error(log) == ""
    assert last_error(None) == ""
    log.write_text("x" * 100000 + "\nerror: first\nRuntimeError: second: third\nsubmitit INFO done\n")
    assert last_error(log) == "RuntimeError: second: third"
    log.write_text("training: 3/4\nerror: the loss is not finite\n")
    assert last_error(log) == "the loss is not finite"
