"""How every rank of a job ended, in files that anyone can read: what restarts and summaries are decided by."""

import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path

from datasets.files import atomic_write_json, read_json


class End(enum.Enum):
    """How a rank or a whole job ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """It was asked to stop (preemption, time limit) and has saved."""
    KILLED = "killed"
    """A signal ended it, or it vanished; trying again may help."""
    FAILED = "failed"
    """It ended by itself with an error; trying again would end in the same way."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """``message`` is the error in one line, empty where there is none."""

    end: End
    message: str = ""


def write_outcome(folder: Path, rank: int, outcome: Outcome) -> None:
    """Write what became of a rank."""
    atomic_write_json(_path(folder, rank), {"end": outcome.end.value, "message": outcome.message})


def clear_outcome(folder: Path, rank: int) -> None:
    """Forget what became of a rank in an earlier attempt."""
    _path(folder, rank).unlink(missing_ok=True)


def read_outcomes(folder: Path, tasks: int) -> list[Outcome | None]:
    """The outcome of every rank, None for one that wrote nothing."""
    outcomes: list[Outcome | None] = []
    for rank in range(tasks):
        path = _path(folder, rank)
        if not path.exists():
            outcomes.append(None)
            continue
        row = read_json(path, "the outcome of a rank")
        outcomes.append(Outcome(end=End(row["end"]), message=row["message"]))
    return outcomes


def overall(outcomes: Sequence[Outcome | None]) -> Outcome:
    """The outcome of a job.

    A rank that was killed makes the others fail, so a kill outweighs an error; and one that failed makes the others
    be stopped, so an error outweighs a stop.
    """
    for rank, outcome in enumerate(outcomes):
        if outcome is None:
            return Outcome(end=End.KILLED, message=f"rank {rank} vanished")
        if outcome.end is End.KILLED:
            return Outcome(end=End.KILLED, message=f"rank {rank} was {outcome.message}")
    for end in (End.FAILED, End.STOPPED):
        found = [outcome for outcome in outcomes if outcome is not None and outcome.end is end]
        if found:
            return found[0]
    return Outcome(end=End.COMPLETED)


def _path(folder: Path, rank: int) -> Path:
    return Path(folder) / f"rank_{rank:05d}.json"
