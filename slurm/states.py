"""What the cluster says about jobs, with Slurm's accounting and without it."""

import subprocess
from collections.abc import Sequence

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
TIMEOUT_SECONDS = 60


def job_states(cluster: str, job_ids: Sequence[str]) -> dict[str, str]:
    """Slurm's word for the state of every job; jobs that nobody remembers are left out.

    Args:
        cluster: ``slurm``, ``local`` or ``debug``.
        job_ids: as submitit gives them, ``123`` or ``123_4``.
    """
    wanted = [job_id for job_id in job_ids if job_id]
    if not wanted or cluster == "debug":
        return {}
    if cluster == "local":
        return {job_id: "RUNNING" for job_id in wanted if local_job_runs(job_id)}
    states = _query(["squeue", "-h", "-r", "-t", "all", "-o", "%i|%T", "-j", ",".join(wanted)])
    forgotten = [job_id for job_id in wanted if job_id not in states]
    if forgotten:  # squeue forgets soon; sacct does not, where there is accounting
        states |= _query(["sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(forgotten)])
    return {job_id: states[job_id] for job_id in wanted if job_id in states}


def is_live(state: str) -> bool:
    """Whether a job in this state will still write its folder."""
    return state in WAITING or state in RUNNING


def local_job_runs(job_id: str) -> bool:
    """Whether the process that watches over a local job is there (and is no other one with its number)."""
    import psutil

    try:
        process = psutil.Process(int(job_id))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and any("submitit" in word for word in process.cmdline())
    except (psutil.Error, ValueError):
        return False


def _query(command: list[str]) -> dict[str, str]:
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = [line.split("|") for line in found.stdout.splitlines() if line.count("|") == 1]
    # "CANCELLED by 1000" is one state
    return {job_id: state.split()[0] for job_id, state in rows if state}
