"""``vrmm jobs``: the launches of this folder."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tools.console import console

app = typer.Typer()
Number = Annotated[str, typer.Argument(metavar="LAUNCH", help="Number of a launch, as vrmm jobs list shows it.")]


@app.command("list")
def list_launches() -> None:
    """All launches of this folder, the newest last."""
    from slurm.launches import LAUNCHES, all_launches
    from slurm.summary import standings

    table = Table()
    for name in ("launch", "command", "cluster", "jobs", "state"):
        table.add_column(name)
    for launch in all_launches(LAUNCHES):
        rows = standings(launch)
        first = launch.elements[0].command
        states = [row.state for row in rows]
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        words = " ".join((first.name, *first.arguments[:2]))
        table.add_row(launch.name, words, launch.config.cluster, rows[0].job_id, counts)
    console.print(table if table.rows else "nothing has been launched from this folder")


@app.command()
def status(
    number: Number,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file as well.")] = None,
) -> None:
    """How every job of a launch stands, what it has reached, and its error."""
    from datasets.files import atomic_write_bytes
    from slurm.summary import standings, summary_csv

    rows = standings(_launch(number))
    names = sorted({name for row in rows for name in row.numbers})
    table = Table()
    for name in ("name", "job", "state", "restarts", *names, "message"):
        table.add_column(name, overflow="fold")
    for row in rows:
        numbers = [f"{row.numbers[name]:g}" if name in row.numbers else "" for name in names]
        table.add_row(row.name, row.job_id, row.state, str(row.restarts), *numbers, row.message)
    console.print(table)
    if csv is not None:
        atomic_write_bytes(csv, summary_csv(rows).encode())


@app.command()
def logs(
    number: Number,
    element: Annotated[str | None, typer.Option(help="Name of one job of an array.")] = None,
    rank: Annotated[int, typer.Option(help="Process of the job.")] = 0,
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends or ctrl-C.")] = False,
) -> None:
    """The output of one rank of a job."""
    from slurm.logs import log_paths, tail

    launch = _launch(number)
    index = _index(launch, element)
    paths = log_paths(launch, index, rank)
    for path in paths:
        console.rule(path.name)
        console.print(tail(path, lines), markup=False, highlight=False)
    if follow:
        _follow(launch, index, paths)


@app.command()
def cancel(
    number: Number,
    element: Annotated[str | None, typer.Option(help="Name of one job of an array; default all.")] = None,
) -> None:
    """End the jobs of a launch. What they have saved stays; vrmm jobs resume continues."""
    from slurm.control import cancel as end

    launch = _launch(number)
    indices = range(len(launch.elements)) if element is None else [_index(launch, element)]
    ended = end(launch, indices)
    console.print(f"launch {launch.name}: {ended} jobs cancelled")


@app.command()
def resume(
    number: Number,
    element: Annotated[str | None, typer.Option(help="Name of one job of an array; default all unfinished.")] = None,
) -> None:
    """Submit the jobs of a launch again that have neither completed nor are waiting or running."""
    from slurm.control import unfinished
    from slurm.submit import submit

    launch = _launch(number)
    wanted = unfinished(launch)
    if element is not None:
        wanted = [index for index in wanted if index == _index(launch, element)]
    if not wanted:
        console.print(f"launch {launch.name}: nothing to resume; all its jobs are completed, waiting or running")
        return
    submit(launch, wanted)
    names = ", ".join(f"{launch.elements[index].name} as job {launch.job_ids[index]}" for index in wanted)
    console.print(f"launch {launch.name}: resumed {names}")


def _launch(number: str):
    from slurm.launches import LAUNCHES, Launch

    return Launch.load((LAUNCHES / number).resolve())


def _index(launch, element: str | None) -> int:
    from datasets.errors import VrmmError

    names = [row.name for row in launch.elements]
    if element is None and len(names) == 1:
        return 0
    if element is None:
        raise VrmmError(f"launch {launch.name} has {len(names)} jobs; name one with --element: {', '.join(names)}")
    if element not in names:
        raise VrmmError(f"launch {launch.name} has no job {element}; its jobs are {', '.join(names)}")
    return names.index(element)


def _follow(launch, index: int, paths: list[Path]) -> None:
    from slurm.summary import standings

    places = {path: path.stat().st_size for path in paths}
    live = True
    while live:
        live = standings(launch)[index].is_live
        for path, place in places.items():
            with open(path, errors="replace") as file:
                file.seek(place)
                console.print(file.read(), end="", markup=False, highlight=False)
                places[path] = file.tell()
        time.sleep(1.0)
