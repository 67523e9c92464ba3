"""``vrmm launch``: training, evaluation, fits and sweeps on a cluster."""

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tools.console import console, progress_bar


def launch(
    config: Annotated[Path, typer.Argument(help="Resources, for example configs/slurm/single_node.yaml.")],
    words: Annotated[
        list[str] | None, typer.Argument(help="key=value changes to it, then -- and the command: -- train RECIPE …")
    ] = None,
    sweep: Annotated[list[str] | None, typer.Option(help="key=a,b,c: one job for every combination.")] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", help="File with the photos of one person on each line, for fit.")
    ] = None,
    array: Annotated[bool, typer.Option("--array", help="One job for every run of an ablation's table.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only try whether it would run: a preflight job.")] = False,
) -> None:
    """Run a vrmm command on Slurm or in the background: vrmm launch CONFIG [key=value …] -- train RECIPE …

    The job saves and continues by itself when it is preempted, when its time is over or when a rank dies.
    vrmm jobs shows how it stands.
    """
    from datasets.config import load_config
    from datasets.errors import VrmmError
    from slurm.commands import Command
    from slurm.config import LaunchConfig
    from slurm.submit import check_cluster

    given = list(words or [])
    start = next((index for index, word in enumerate(given) if "=" not in word), len(given))
    resources = load_config(LaunchConfig, config, given[:start])
    check_cluster(resources)
    if check:
        _preflight(resources, given[start:])
        return
    if bool(sweep) + bool(list_file) + array > 1:
        raise VrmmError("--sweep, --list and --array are three kinds of array; give one of them")
    elements = _elements(Command.parse(given[start:]), sweep or [], list_file, array)
    for element in elements:
        element.command.check(resources.tasks)
    _submit(resources, elements)


def _elements(command, sweep: list[str], list_file: Path | None, array: bool):
    from slurm.sweep import Element, ablation_elements, list_elements, sweep_elements

    if sweep:
        return sweep_elements(command, sweep)
    if list_file is not None:
        return list_elements(command, list_file)
    if array:
        return ablation_elements(command)
    return [Element(name=command.name, command=command)]


def _submit(resources, elements) -> None:
    from datasets.errors import VrmmError
    from slurm.launches import LAUNCHES, Launch, all_launches
    from slurm.submit import submit
    from slurm.summary import live_writer

    earlier = all_launches(LAUNCHES)
    for element in elements:
        writer = live_writer(earlier, element.command.out)
        if writer is not None:
            raise VrmmError(f"{element.command.out} is being written by {writer}; wait for it or cancel it")
    new = Launch.create(LAUNCHES, resources, elements)
    try:
        with progress_bar("starting") as report:
            submit(new, range(len(elements)), report)
    except VrmmError:
        if not any(new.job_ids):
            shutil.rmtree(new.folder)
        raise
    jobs = f"job {new.job_ids[0]}" if len(elements) == 1 else f"{len(elements)} jobs, {new.job_ids[0]} and following"
    console.print(f"launch {new.name}: {jobs}; see vrmm jobs status {new.name} and vrmm jobs logs {new.name}")


def _preflight(resources, words: list[str]) -> None:
    from slurm.check import run_preflight
    from slurm.commands import Command

    command = Command.parse(words) if words else None
    checks = run_preflight(dataclasses.replace(resources, timeout_min=5, signal_delay_s=60), command)
    table = Table(title="Preflight")
    for name in ("", "found", "problem"):
        table.add_column(name)
    for row in checks:
        table.add_row(row.name, row.found, row.problem)
    console.print(table)
    if any(row.problem for row in checks):
        raise typer.Exit(1)
