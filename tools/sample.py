"""``vrmm sample``: heads of nobody."""

from pathlib import Path
from typing import Annotated

import typer

from tools.shows.moves import CameraMove
from tools.shows.options import ShowOptions, put_on, show_command


@show_command(without=("cells",), camera=CameraMove.sway)
def sample(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained prior.")],
    count: Annotated[int, typer.Option(help="How many heads, one after the other.")] = 8,
    *,
    options: ShowOptions,
) -> None:
    """Show random heads, drawn from Gaussians over the run's identity and expression codes.

    Head number k of a seed is RUN:randomK in every other command, whatever --count is.
    """
    import dataclasses

    from tools.shows.expressions import Rest
    from tools.shows.people import Cast

    heads = Cast(seed=options.seed, temperature=options.temperature).heads(run, count)
    options = dataclasses.replace(options, cells=count)
    performance = Rest() if options.expression == "rest" else options.performance(heads[0])
    put_on(f"drawing {count} heads", options, heads, performance, lambda place: [heads[int(place * count)]])
