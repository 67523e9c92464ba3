"""``python -m slurm.afterwards LAUNCH``: the last line of a batch script, once srun has ended.

It runs whichever rank died and however, and not when the job was cancelled, hit its time limit or was queued again by
someone else: Slurm ends the batch script then.
"""

import os
import subprocess
import sys
from pathlib import Path

from slurm.launches import Launch
from slurm.outcome import Outcome, clear_outcome, overall, read_outcomes


def afterwards(folder: Path, job_id: str, raw_job_id: str) -> Outcome:
    """Queue the job again where that may help, and say in its log what was decided.

    Args:
        folder: of the launch.
        job_id: as submitit calls it, ``123`` or ``123_4``.
        raw_job_id: as scontrol takes it.
    """
    launch = Launch.load(folder)
    index = launch.index_of_job(job_id)
    outcome = overall(read_outcomes(launch.status(index), launch.config.tasks))
    policy = launch.policy(index)
    if policy.allows(outcome):
        _say(f"{outcome.end.value}: {outcome.message}; queued again, restart {policy.restarts}")
        for rank in range(launch.config.tasks):
            clear_outcome(launch.status(index), rank)
        subprocess.run(["scontrol", "requeue", raw_job_id], check=True, timeout=60)
    else:
        _say(f"{outcome.end.value}: {outcome.message}" if outcome.message else outcome.end.value)
    return outcome


def _say(text: str) -> None:
    print(f"vrmm launch: {text}", flush=True)


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return os.environ["SLURM_JOB_ID"] if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


if __name__ == "__main__":
    afterwards(Path(sys.argv[1]), _job_id(), os.environ["SLURM_JOB_ID"])
