"""The command line of ``vrmm demo``."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from tools.console import console

OUT = Path("runs/demo")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; a demo that is there is continued.")] = OUT,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes, to see that it works.")] = False,
    head_model: Annotated[
        str | None, typer.Option(help="Heads of an ICT Face Model (.npz or checkout) instead of our own.")
    ] = None,
) -> None:
    """Capture, train, evaluate and fit small heads, and write a report about them.

    Run the same command again to continue after an interruption.
    """
    from prior.runfolder import RunLock
    from tools.demo.book import StageBook
    from tools.demo.settings import DemoSettings
    from tools.demo.stages import run_stages
    from tools.demo.summary import print_summary

    settings = DemoSettings.load(quick=quick, head_model=head_model)
    book = StageBook(out, settings.to_json())
    signal.signal(signal.SIGTERM, _interrupt)  # a polite kill ends the training's processes too
    with RunLock(out):
        worked = run_stages(settings, book)
    if not worked:
        console.print(f"{out} is complete")
    print_summary(out)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
