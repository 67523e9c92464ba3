"""The list of benchmarks. A new one is a typer function in its own file and a line in ``COMMANDS``."""

import typer

from tools.bench.corruption import corruption
from tools.bench.export import export
from tools.bench.faults import faults
from tools.bench.loader import loader
from tools.bench.raymarch import raymarch
from tools.bench.train_step import train_step

COMMANDS = (raymarch, train_step, faults, loader, corruption, export)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def benchmarks() -> None:
    """Measure vrmm on this machine; close other programs first."""


for _command in COMMANDS:
    app.command(_command.__name__)(_command)

if __name__ == "__main__":
    app()
