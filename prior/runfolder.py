"""A run folder: resolved recipe, versions, metrics as JSON lines, and a lock against a second writer."""

import fcntl
import importlib.metadata
import json
import os
import platform
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, atomic_write_json, read_json
from datasets.loader import FrameLoader

LIBRARIES = ("torch", "deepspeed", "webdataset", "kornia", "mitsuba", "numpy", "opencv-python-headless")


class RunLock:
    """Held while a process writes a run folder; freed by the system when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / ".lock"

    def __enter__(self) -> "RunLock":
        """Raises VrmmError naming the process that holds the folder."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+")
        except OSError as error:
            raise VrmmError(f"cannot write the run folder {self.path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise VrmmError(f"run folder {self.path.parent} is being written by {holder}; wait or stop it") from error
        self._file.truncate(0)
        job = f"Slurm job {os.environ['SLURM_JOB_ID']}, " if "SLURM_JOB_ID" in os.environ else ""
        self._file.write(f"{job}process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.truncate(0)
        self._file.close()


def library_versions() -> dict[str, str]:
    """Versions that a run's numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def describe_run(folder: Path, recipe_yaml: str, versions: dict[str, str]) -> None:
    """Write recipe.yaml and versions.json."""
    atomic_write_bytes(folder / "recipe.yaml", recipe_yaml.encode())
    atomic_write_json(folder / "versions.json", versions)


def describe_loading(folder: Path, loader: FrameLoader) -> None:
    """Write loading.json: how many frames an epoch has and leaves over, and the loader's memory."""
    facts = {
        "frames": loader.frames,
        "incomplete": loader.incomplete,
        "steps_per_epoch": loader.steps_per_epoch,
        "left_over_per_epoch": loader.dropped,
        "memory_bytes_per_rank": loader.memory_bound(),
    }
    atomic_write_json(folder / "loading.json", facts)


def remember_lost(folder: Path, rank: int, lost: dict[str, str]) -> None:
    """Add samples that could not be read, and why, to the run's list of this rank; none is listed twice."""
    path = folder / f"lost_rank{rank}.json"
    if lost:
        before = read_json(path, "a list of lost samples") if path.exists() else {}
        atomic_write_json(path, before | lost)


class MetricsLog:
    """metrics.jsonl: one line a logged step. Lines past the resumed step are dropped when a run continues."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        kept = [row for row in read_metrics(folder) if row["step"] <= resume_step]
        atomic_write_bytes(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = open(self.path, "a", buffering=1)  # noqa: SIM115 - closed by close()

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of metrics.jsonl; a line cut by a kill is left out."""
    path = Path(folder) / "metrics.jsonl"
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows
