"""Where the output of every rank of a job lies."""

from pathlib import Path

from datasets.errors import VrmmError
from slurm.launches import Launch

TAIL_BYTES = 2**18


def log_paths(launch: Launch, index: int, rank: int) -> list[Path]:
    """Standard output and error of one rank, those that exist.

    Raises:
        VrmmError: there are none (yet).
    """
    job = launch.job_ids[index]
    paths = [launch.log_folder / f"{job}_{rank}_log.{kind}" for kind in ("out", "err")]
    found = [path for path in paths if path.exists()]
    if not found:
        waiting = "it has not started yet" if rank < launch.config.tasks else f"it has {launch.config.tasks} ranks"
        raise VrmmError(f"job {job} has no log of rank {rank}; {waiting}")
    return found


def tail(path: Path, lines: int) -> str:
    """The last lines of a file, without reading all of it."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
