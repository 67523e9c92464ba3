"""The ``vrmm`` command: finds the subcommand that was asked for and imports nothing else.

Importing torch and Mitsuba takes seconds. So only the module of the chosen subcommand is imported; the others are
listed with the help text given here.
"""

import dataclasses
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tools.console import fail, friendly_errors
from tools.probes import shadowing_package


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand: ``target`` is ``module:name`` of a typer function, or of a ``typer.Typer`` with subcommands."""

    name: str
    target: str
    help: str

    def load(self) -> Callable[..., Any] | typer.Typer:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


COMMANDS = (
    Command(name="demo", target="tools.demo:demo", help="Capture, train, evaluate and fit small heads; report it."),
    Command(name="capture", target="tools.capture:app", help="Render a capture, or import a public one."),
    Command(name="shards", target="tools.shards:app", help="Build, verify and describe the shards of a capture."),
    Command(name="train", target="tools.train:train", help="Train the head model from a recipe."),
    Command(name="evaluate", target="tools.evaluate:evaluate", help="Compare a trained model with rendered truth."),
    Command(name="ablate", target="tools.ablate:ablate", help="Train and compare variants of the model."),
    Command(
        name="train-initializer",
        target="tools.train_initializer:train_initializer",
        help="Train a prior's network for landmarks and start values.",
    ),
    Command(name="fit", target="tools.fit:fit", help="Turn one or more images of a person into an avatar."),
    Command(
        name="evaluate-fit",
        target="tools.evaluate_fit:evaluate_fit",
        help="Fit people never trained on, and compare their avatars with truth.",
    ),
    Command(name="interpolate", target="tools.interpolate:interpolate", help="Turn people into one another."),
    Command(name="relight", target="tools.relight:relight", help="Show people in light that moves."),
    Command(name="animate", target="tools.animate:animate", help="Let people make the expressions of others."),
    Command(name="sample", target="tools.sample:sample", help="Show random heads that the model makes up."),
    Command(name="view", target="tools.viewer.command:view", help="Look at a head in the browser, or render one view."),
    Command(name="export", target="tools.export:export", help="Write an avatar as a mesh, splats, or a web page."),
    Command(name="report", target="tools.report:report", help="Write the report page of a run or an avatar."),
    Command(name="launch", target="tools.launch:launch", help="Run train, evaluate, ablate, fit or sweeps on Slurm."),
    Command(name="jobs", target="tools.jobs:app", help="List, follow, cancel and resume what was launched."),
    Command(name="doctor", target="tools.doctor:doctor", help="Check this machine and say what to mend."),
)


def main() -> None:
    """Entry point of the ``vrmm`` command."""
    run(sys.argv[1:], COMMANDS)


def run(arguments: Sequence[str], commands: Sequence[Command]) -> None:
    """Run one command line and exit with its status (0 well, 1 a problem, 2 wrong usage, 130 interrupted)."""
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    if chosen != "doctor":  # the doctor reports this together with everything else
        _refuse_shadowed_packages()
    debug = "--debug" in arguments or bool(os.environ.get("VRMM_DEBUG"))
    with friendly_errors(debug):
        build_app(commands, chosen, debug)(list(arguments), prog_name="vrmm")


def build_app(commands: Sequence[Command], chosen: str | None, debug: bool = False) -> typer.Typer:
    """The command line with ``chosen`` imported and every other subcommand present by name and help only."""

    class Group(TyperGroup):
        """Handles errors inside typer, which would otherwise answer ctrl-C in its own way."""

        def invoke(self, ctx: typer.Context) -> Any:
            with friendly_errors(debug):
                return super().invoke(ctx)

    app = typer.Typer(cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_options)
    for command in commands:
        target = command.load() if command.name == chosen else _never_called
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=command.name, help=command.help, no_args_is_help=True)
        else:
            app.command(command.name, help=None if command.name == chosen else command.help)(target)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(importlib.metadata.version("vrmm"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors.")] = False,
) -> None:
    """A volumetric relightable morphable head model: capture, training, evaluation and personal avatars."""
    # Both have been dealt with by the time this runs: they are here for parsing and for the help.


def _never_called() -> None:
    raise AssertionError("a subcommand that was not chosen cannot run")


def _refuse_shadowed_packages() -> None:
    found = shadowing_package()
    if found is not None:
        fail(f"another package named datasets ({found}) hides the one of vrmm; install vrmm in its own environment")


if __name__ == "__main__":
    main()
