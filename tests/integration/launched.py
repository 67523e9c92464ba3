"""Runs ``vrmm launch`` and ``vrmm jobs`` in a working folder, and finds what they started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from slurm.launches import Launch
from slurm.summary import Standing, standings
from tests.integration.training_run import ROOT, logged

ALLOWED_SECONDS = 400.0


def vrmm(work: Path, *words: str, status: int = 0) -> str:
    """One ``vrmm`` command in the working folder; returns all it prints."""
    found = subprocess.run(
        [sys.executable, "-m", "tools.main", *words],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=ALLOWED_SECONDS,
    )
    assert found.returncode == status, found.stdout + found.stderr
    assert "Traceback" not in found.stdout + found.stderr
    return found.stdout + found.stderr


def newest(work: Path) -> Launch:
    folders = sorted((work / ".vrmm" / "jobs").glob("[0-9]*"), key=lambda path: int(path.name))
    return Launch.load(folders[-1])


def in_folder(work: Path, launch: Launch) -> list[Standing]:
    """Standings as they are seen from the working folder, where relative run folders lie."""
    before = Path.cwd()
    os.chdir(work)
    try:
        return standings(launch)
    finally:
        os.chdir(before)


def until_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + ALLOWED_SECONDS
    while not any(row["step"] >= step for row in logged(out)):
        assert time.monotonic() < deadline, f"{out} never reached step {step}"
        time.sleep(0.005)


def rank_process(out: str, rank: int) -> psutil.Process:
    """The training process of a rank."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "tools.main" in words and out in words and process.environ().get("RANK") == str(rank):
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"no process of rank {rank} writes {out}")


def rank_is_there(out: str, rank: int) -> bool:
    """Whether a rank's training process runs."""
    try:
        rank_process(out, rank)
    except AssertionError:
        return False
    return True
