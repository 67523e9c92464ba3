"""How the elements of a launch stand: the cluster's word, how their ranks ended, and what they have reached."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.files import read_json
from prior.runfolder import read_metrics
from slurm.commands import Command
from slurm.launches import Launch
from slurm.outcome import End, Outcome, overall, read_outcomes
from slurm.states import RUNNING, WAITING, is_live, job_states


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """How one element stands.

    Attributes:
        name: of the element.
        job_id: of the cluster.
        state: ``waiting``, ``running``, ``completed``, ``stopped``, ``failed``, Slurm's own word (``cancelled``, …), or
            ``lost`` where nobody knows.
        restarts: how often it was queued again.
        message: its error in one line, where there is one.
        numbers: what it has reached, for example the last line of its metrics.
    """

    name: str
    job_id: str
    state: str
    restarts: int
    message: str
    numbers: dict[str, float]

    @property
    def is_live(self) -> bool:
        return self.state in ("waiting", "running")


def standings(launch: Launch) -> list[Standing]:
    """How every element of a launch stands."""
    states = job_states(launch.config.cluster, launch.job_ids)
    return [_standing(launch, index, states.get(job_id)) for index, job_id in enumerate(launch.job_ids)]


def live_writer(launches: Sequence[Launch], out: Path) -> str | None:
    """Names the live job of an earlier launch that writes ``out``."""
    for launch in launches:
        for standing, element in zip(standings(launch), launch.elements, strict=True):
            if standing.is_live and element.command.out.resolve() == Path(out).resolve():
                return f"job {standing.job_id} of launch {launch.name}"
    return None


def summary_csv(rows: Sequence[Standing]) -> str:
    """The standings as CSV text."""
    names = sorted({name for row in rows for name in row.numbers})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "job", "state", "restarts", *names, "message"])
    for row in rows:
        numbers = [row.numbers.get(name, "") for name in names]
        writer.writerow([row.name, row.job_id, row.state, row.restarts, *numbers, row.message])
    return text.getvalue()


def _standing(launch: Launch, index: int, state: str | None) -> Standing:
    element = launch.elements[index]
    outcomes = read_outcomes(launch.status(index), launch.config.tasks)
    ended = any(outcome is not None for outcome in outcomes)
    outcome = overall(outcomes) if ended else None
    live = state is not None and is_live(state)
    return Standing(
        name=element.name,
        job_id=launch.job_ids[index],
        state=_word(state, outcome),
        restarts=launch.policy(index).restarts,
        message="" if live or outcome is None or outcome.end is End.COMPLETED else outcome.message,
        numbers=reached(element.command),
    )


def _word(state: str | None, outcome: Outcome | None) -> str:
    if state in WAITING:
        return "waiting"
    if state in RUNNING:
        return "running"
    if outcome is not None and (outcome.end in (End.COMPLETED, End.FAILED) or state in (None, "COMPLETED", "FAILED")):
        return outcome.end.value
    return state.lower() if state is not None else "lost"


def reached(command: Command) -> dict[str, float]:
    """The last metrics of a training, or the result of a fit or an evaluation."""
    if command.name == "train":
        rows = read_metrics(command.out)
        return {name: float(rows[-1][name]) for name in ("step", "total")} if rows else {}
    if command.name == "fit":
        path = command.out / "fit.json"
        return _numbers(read_json(path, "a fit")["input"]["finetuned"]) if path.exists() else {}
    path = command.out / (
        "ablation.json" if command.name == "ablate" and not command.option("only") else "evaluation.json"
    )
    if not path.exists():
        return {}
    result = read_json(path, "an evaluation")
    return {f"{name} dB": row["psnr"] for name, row in result.items() if isinstance(row, dict) and "psnr" in row}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("mae255", "psnr") if name in row}
