"""Ending jobs, and finding those that should be submitted again."""

import contextlib
import subprocess
import time
from collections.abc import Sequence

from datasets.errors import VrmmError
from slurm.launches import Launch
from slurm.states import local_job_runs
from slurm.summary import standings

LOCAL_GRACE_SECONDS = 30.0


def cancel(launch: Launch, indices: Sequence[int]) -> int:
    """End the live jobs among ``indices``; returns how many there were."""
    rows = standings(launch)
    jobs = [rows[index].job_id for index in indices if rows[index].is_live]
    if launch.config.cluster == "local":
        for job in jobs:
            _end_local(int(job))
    elif jobs:
        found = subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=60)
        if found.returncode:
            raise VrmmError(f"scancel refused: {found.stderr.strip().splitlines()[-1]}")
    return len(jobs)


def unfinished(launch: Launch) -> list[int]:
    """Elements that have neither completed nor are waiting or running."""
    rows = standings(launch)
    return [index for index, row in enumerate(rows) if not row.is_live and row.state != "completed"]


def _end_local(controller: int) -> None:
    """Stop submitit's controller first, so that it does not start the tasks again, then let the tasks save."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(controller)
        tasks = process.children()
        process.suspend()
        for task in tasks:
            with contextlib.suppress(psutil.NoSuchProcess):
                task.terminate()
        psutil.wait_procs(tasks, timeout=LOCAL_GRACE_SECONDS)
        process.kill()
    deadline = time.monotonic() + LOCAL_GRACE_SECONDS
    while local_job_runs(str(controller)) and time.monotonic() < deadline:
        time.sleep(0.1)
