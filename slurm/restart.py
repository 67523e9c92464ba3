"""Whether a job that has ended starts again: yes as long as it makes progress, a few times where it does not."""

import dataclasses
import json
from pathlib import Path

from datasets.files import atomic_write_json, read_json
from slurm.outcome import End, Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """Attributes:
    state: file that remembers earlier restarts.
    out: folder that the command writes.
    max_restarts: restarts in a row without progress.
    """

    state: Path
    out: Path
    max_restarts: int

    def allows(self, outcome: Outcome) -> bool:
        """Decide, and remember the decision. A job that failed by itself would only fail again."""
        if outcome.end not in (End.STOPPED, End.KILLED):
            return False
        state = self._read()
        mark = progress_mark(self.out)
        idle = 0 if mark != state["mark"] else state["without_progress"] + 1
        allowed = idle <= self.max_restarts
        if allowed:
            row = {"restarts": state["restarts"] + 1, "without_progress": idle, "mark": mark}
            atomic_write_json(self.state, row)
        return allowed

    @property
    def restarts(self) -> int:
        """How often the job has started again."""
        return self._read()["restarts"]

    def reset(self) -> None:
        """Begin to count anew, when someone has launched the job again."""
        self.state.unlink(missing_ok=True)

    def _read(self) -> dict:
        if not self.state.exists():
            return {"restarts": 0, "without_progress": 0, "mark": progress_mark(None)}
        return read_json(self.state, "the restarts of a job")


def progress_mark(out: Path | None) -> str:
    """Something that changes whenever the command has got further: the newest checkpoint, or else the newest file."""
    if out is None or not out.is_dir():
        return "nothing"
    pointer = out / "checkpoints" / "latest.json"
    if pointer.exists():
        return f"step {json.loads(pointer.read_text())['step']}"
    times = [path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return f"written {max(times)}" if times else "nothing"
