"""What runs on the nodes: one supervisor a rank, which starts ``vrmm`` and writes down how it ended."""

import ctypes
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from slurm.outcome import End, Outcome, clear_outcome, read_outcomes, write_outcome
from slurm.restart import RestartPolicy

POLL_SECONDS = 0.05
PEER_SECONDS = 1.0
GRACE_SECONDS = 5.0
"""How long a rank may go on after another one has died; it only waits in a collective."""

INTERRUPTED = 130
"""Exit status of ``vrmm`` after it has saved because it was asked to stop."""

LOG_TAIL_BYTES = 65536
FIRST_PORT, PORTS = 20000, 20000


@dataclasses.dataclass(frozen=True, kw_only=True)
class VrmmJob:
    """A ``vrmm`` command as submitit pickles it: plain values only, so that it can be read by any version.

    Attributes:
        arguments: words after ``vrmm``.
        status: folder for the outcomes of the ranks.
        tasks: ranks of the job.
        policy: when the job starts again.
        distributed: whether the command takes part in a process group (RANK and its companions are set).
        module: what Python runs with these arguments.
    """

    arguments: tuple[str, ...]
    status: Path
    tasks: int
    policy: RestartPolicy
    distributed: bool
    module: str = "tools.main"

    def __call__(self) -> None:
        """Run the command as this task's rank. Raises RuntimeError (for submitit) unless it completed."""
        from submitit import JobEnvironment

        environment = JobEnvironment()
        rank = environment.global_rank
        clear_outcome(self.status, rank)
        supervisor = Supervisor(rank, self.status, self.tasks)
        outcome = supervisor.run(self._command(), os.environ | self._variables(environment), _log_of(environment))
        write_outcome(self.status, rank, outcome)
        if outcome.end is End.COMPLETED:
            return
        if environment.cluster == "local" and self._restart_here(rank, outcome):
            environment._requeue(self.policy.max_restarts)  # ends this process with the status that means "again"
        raise RuntimeError(f"{outcome.end.value}: {outcome.message}")

    def _command(self) -> list[str]:
        return [sys.executable, "-u", "-m", self.module, *self.arguments]

    def _variables(self, environment: Any) -> dict[str, str]:
        """The variables by which torch and DeepSpeed find each other."""
        if not self.distributed:
            return {}
        number = re.sub(r"\D", "", environment.raw_job_id) or str(os.getppid())
        return {
            "RANK": str(environment.global_rank),
            "WORLD_SIZE": str(environment.num_tasks),
            "LOCAL_RANK": str(environment.local_rank),
            "LOCAL_WORLD_SIZE": str(max(1, environment.num_tasks // environment.num_nodes)),
            "MASTER_ADDR": environment.hostnames[0],
            # From the raw id: all elements of an array may run on one node at the same time.
            "MASTER_PORT": str(FIRST_PORT + int(number) % PORTS),
        }

    def _restart_here(self, rank: int, outcome: Outcome) -> bool:
        """Without Slurm one rank asks for the restart: the first of those that stopped, or the one that was killed."""
        if outcome.end is End.STOPPED:
            return rank == 0 and self.policy.allows(outcome)
        return outcome.end is End.KILLED and self.policy.allows(outcome)


class Supervisor:
    """Starts the command, passes requests to stop on to it as ctrl-C, and waits.

    Slurm signals every task of a job. The command runs in a session of its own, where these signals do not reach it,
    so that a signal during its start cannot end one rank and spare the others.
    """

    def __init__(self, rank: int, status: Path, tasks: int) -> None:
        self._rank, self._status, self._tasks = rank, status, tasks
        self._stop_requested = False
        self._given_up = False

    def run(self, command: list[str], variables: dict[str, str], log: Path | None) -> Outcome:
        """The outcome of the command; ``log`` is where its errors are written."""
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        process = subprocess.Popen(command, env=variables, start_new_session=True, preexec_fn=_die_with_parent)
        self._wait(process)
        return self._outcome(process.returncode, log)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        print(f"vrmm launch: {signal.Signals(number).name}, asking rank {self._rank} to save and stop", flush=True)
        self._stop_requested = True

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        asked, next_look, deadline = False, time.monotonic() + PEER_SECONDS, float("inf")
        while process.poll() is None:
            if self._stop_requested and not asked:
                process.send_signal(signal.SIGINT)
                asked = True
            now = time.monotonic()
            if now > next_look:
                next_look = now + PEER_SECONDS
                if deadline == float("inf") and self._peer_is_dead():
                    deadline = now + GRACE_SECONDS
            if now > deadline:
                self._given_up = True
                process.kill()
                process.wait()
            time.sleep(POLL_SECONDS)

    def _peer_is_dead(self) -> bool:
        outcomes = read_outcomes(self._status, self._tasks)
        return any(outcome is not None and outcome.end in (End.KILLED, End.FAILED) for outcome in outcomes)

    def _outcome(self, code: int, log: Path | None) -> Outcome:
        if code == 0:
            return Outcome(end=End.COMPLETED)
        if self._given_up:
            return Outcome(end=End.STOPPED, message="another rank had died")
        if self._stop_requested or code == INTERRUPTED:
            return Outcome(end=End.STOPPED, message="asked to stop")
        if code < 0:
            return Outcome(end=End.KILLED, message=f"killed by {signal.Signals(-code).name}")
        return Outcome(end=End.FAILED, message=last_error(log) or f"exit status {code}")


def last_error(log: Path | None) -> str:
    """The last line of a log that names an error, empty where there is none."""
    if log is None or not log.exists():
        return ""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    named = [line for line in lines if re.match(r"(error:|\w*(Error|Exception):)", line)]
    return named[-1].removeprefix("error: ") if named else ""


def _log_of(environment: Any) -> Path | None:
    """Where submitit writes this task's standard error."""
    return environment.paths.stderr if "SUBMITIT_FOLDER" in os.environ else None


def _die_with_parent() -> None:
    """Ask Linux to kill the command when its supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
