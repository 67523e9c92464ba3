"""``vrmm sample``: heads of nobody."""

from pathlib import Path
from typing import Annotated

import typer

from tools.shows.moves import HEADS, SAMPLE
from tools.shows.options import ShowOptions, put_on, show_command


@show_command(without=("cells",), **SAMPLE)
def sample(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained prior.")],
    count: Annotated[int, typer.Option(help="How many heads, one after the other.")] = HEADS,
    *,
    options: ShowOptions,
) -> None:
    """Show random heads, drawn from Gaussians over the run's identity and expression codes.

    Head number k of a seed is RUN:randomK in every other command, whatever --count is.
    """
    from tools.shows.program import sampling

    put_on(sampling(run, count, options))
