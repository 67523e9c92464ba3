"""Hands jobs to submitit."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datasets.errors import VrmmError
from slurm.config import LaunchConfig
from slurm.job import VrmmJob
from slurm.launches import Launch

UNLIMITED = 10**6
"""Restarts as far as submitit is concerned; ours are counted by progress (slurm.restart)."""

LOCAL_POLL_SECONDS = 0.2


def check_cluster(config: LaunchConfig) -> None:
    """Raises VrmmError where Slurm is not here or does not know the partition."""
    if config.cluster != "slurm":
        return
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise VrmmError("sbatch is not on PATH; launch from a login node of the cluster, or with cluster=local")
    if config.partition is None:
        return
    found = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, timeout=60)
    partitions = sorted(set(found.stdout.split()))
    if found.returncode == 0 and config.partition not in partitions:
        raise VrmmError(f"partition {config.partition} does not exist; this cluster has {', '.join(partitions)}")


def submit(launch: Launch, indices: Sequence[int], progress: Callable[[int, int], None] | None = None) -> None:
    """Submit elements of a launch as one job, or as one job array, and save their job ids.

    On ``local`` this returns when all have been started: at once, or, with more elements than
    ``array_parallelism``, when enough of them have ended.

    Raises:
        VrmmError: the cluster refuses the job (its own words are passed on).
    """
    for index in indices:
        launch.policy(index).reset()
    try:
        executor = make_executor(launch)
        _submit_all(executor, launch, indices, progress)
    except (subprocess.CalledProcessError, RuntimeError) as error:
        raise VrmmError(f"the cluster refused the job: {_reason(error)}") from error


def make_executor(launch: Launch) -> Any:
    """A submitit executor with the resources of the launch."""
    import submitit

    config = launch.config
    options: dict[str, Any] = {"slurm_max_num_timeout": UNLIMITED, "local_max_num_timeout": UNLIMITED}
    if config.python is not None:
        options |= {"slurm_python": config.python, "local_python": config.python}
    executor = submitit.AutoExecutor(launch.log_folder, cluster=config.cluster, **options)
    parameters: dict[str, Any] = {
        "name": f"vrmm-{launch.name}",
        "nodes": config.nodes,
        "tasks_per_node": config.tasks_per_node,
        "gpus_per_node": config.gpus_per_node,
        "cpus_per_task": config.cpus_per_task,
        "mem_gb": config.mem_gb,
        "timeout_min": config.timeout_min,
    }
    if config.cluster == "local":
        parameters |= {"local_setup": list(config.setup)} if config.setup else {}
        executor.update_parameters(**parameters)
        executor._executor.parameters["signal_delay_s"] = config.signal_delay_s
    elif config.cluster == "slurm":
        executor.update_parameters(**parameters, **_slurm_parameters(launch))
    return executor


def _slurm_parameters(launch: Launch) -> dict[str, Any]:
    config = launch.config
    after = [config.python or shlex.quote(sys.executable), "-m slurm.afterwards", shlex.quote(str(launch.folder))]
    wanted = {
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
    }
    return {f"slurm_{name}": value for name, value in wanted.items() if value is not None} | {
        "slurm_signal_delay_s": config.signal_delay_s,
        "slurm_setup": list(config.setup),
        "slurm_teardown": ["status=$?", " ".join(after), "exit $status"],
        # srun's own option: a dead rank ends the job step at once, and the batch script can decide what follows.
        "slurm_srun_args": ["--kill-on-bad-exit=1", *config.srun_args],
        "slurm_array_parallelism": config.array_parallelism,
        "slurm_additional_parameters": {"requeue": True, **config.sbatch_args},
    }


def _submit_all(executor: Any, launch: Launch, indices: Sequence[int], progress: Any) -> None:
    work = [vrmm_job(launch, index) for index in indices]
    if launch.config.cluster == "slurm" and len(work) > 1:
        with executor.batch():
            jobs = [executor.submit(job) for job in work]
        for index, job in zip(indices, jobs, strict=True):
            launch.job_ids[index] = str(job.job_id)
        launch.save()
        return
    running: list[Any] = []
    for done, (index, job) in enumerate(zip(indices, work, strict=True), start=1):
        running = _wait_for_room(running, launch.config)
        with _detached() if launch.config.cluster == "local" else contextlib.nullcontext():
            submitted = executor.submit(job)
        running.append(submitted)
        launch.job_ids[index] = str(submitted.job_id)
        launch.save()
        if launch.config.cluster == "debug":
            _run_here(submitted)
        if progress is not None:
            progress(done, len(work))


@contextlib.contextmanager
def _detached() -> Iterator[None]:
    """What starts inside does not hold this terminal or pipe; ``vrmm launch … | tee log`` would wait for the job."""
    sys.stdout.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _run_here(job: Any) -> None:
    """A debug job runs when its result is asked for."""
    from submitit.core.utils import UncompletedJobError

    try:
        job.result()
    except (UncompletedJobError, RuntimeError):
        return  # the outcome file tells


def _wait_for_room(running: list[Any], config: LaunchConfig) -> list[Any]:
    while config.cluster == "local" and len(running) >= config.array_parallelism:
        running = [job for job in running if not job.done()]
        if len(running) >= config.array_parallelism:
            time.sleep(LOCAL_POLL_SECONDS)
    return running


def vrmm_job(launch: Launch, index: int) -> VrmmJob:
    """What the tasks of an element run."""
    command = launch.elements[index].command
    return VrmmJob(
        arguments=(command.name, *command.arguments),
        status=launch.status(index),
        tasks=launch.config.tasks,
        policy=launch.policy(index),
        distributed=command.name == "train",
    )


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    text = output.decode(errors="replace") if isinstance(output, bytes) else str(output)
    named = re.findall(r"error: (.+)", text)
    return named[-1] if named else text.strip().splitlines()[-1] if text.strip() else type(error).__name__
