"""Submits the preflight and waits for what it finds."""

import shutil
import time
from pathlib import Path

from datasets.errors import VrmmError
from datasets.files import read_json
from slurm.commands import Command
from slurm.config import LaunchConfig
from slurm.job import VrmmJob, last_error
from slurm.launches import LAUNCHES, Launch
from slurm.outcome import read_outcomes
from slurm.preflight import Check
from slurm.restart import RestartPolicy
from slurm.states import is_live, job_states
from slurm.submit import make_executor
from slurm.sweep import Element

POLL_SECONDS = 0.5
LOST_SECONDS = 30.0


def run_preflight(config: LaunchConfig, command: Command | None) -> list[Check]:
    """Run the preflight with the resources of ``config`` and return its rows.

    Args:
        config: of the launch that is planned.
        command: what will be launched; its run folder and shards are tried.

    Raises:
        VrmmError: the preflight job itself failed, with the last error in its log.
    """
    root = LAUNCHES.parent / "preflight"
    shutil.rmtree(root, ignore_errors=True)
    out = (command.out if command is not None else LAUNCHES.parent).resolve()
    launch = Launch.create(
        root, config, [Element(name="preflight", command=Command(name="train", arguments=("--out", str(out))))]
    )
    result = launch.folder / "result.json"
    arguments = ["--out", str(out), "--result", str(result), *_shards(command)]
    policy = RestartPolicy(state=launch.folder / "restarts.json", out=out, max_restarts=0)
    job = VrmmJob(
        arguments=tuple(arguments),
        status=launch.status(0),
        tasks=config.tasks,
        policy=policy,
        distributed=True,
        module="slurm.preflight",
    )
    executor = make_executor(launch)
    executor.update_parameters(slurm_teardown=None)
    submitted = executor.submit(job)
    _wait(launch, submitted)
    if not result.exists():
        logs = sorted(launch.log_folder.glob("*log.err"))
        errors = [text for text in map(last_error, logs) if text]
        raise VrmmError(f"the preflight failed: {errors[0] if errors else 'see ' + str(launch.log_folder)}")
    return [Check(**row) for row in read_json(result, "the result of a preflight")["checks"]]


def _shards(command: Command | None) -> list[str]:
    if command is None or command.name != "train":
        return []
    from datasets.config import load_config
    from prior.recipe import TrainRecipe

    recipe = load_config(TrainRecipe, command.positional[0], command.overrides)
    return ["--shards", str(Path(recipe.loader.shards).resolve())]


def _wait(launch: Launch, job) -> None:
    """Until every rank has written how it ended, or the cluster no longer knows the job."""
    if launch.config.cluster == "debug":
        job.result()
        return
    lost_since = None
    while any(outcome is None for outcome in read_outcomes(launch.status(0), launch.config.tasks)):
        state = job_states(launch.config.cluster, [str(job.job_id)]).get(str(job.job_id), "")
        if is_live(state):
            lost_since = None
        else:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > LOST_SECONDS:
                return
        time.sleep(POLL_SECONDS)
