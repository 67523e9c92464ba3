"""``vrmm capture``: captures from the synthetic light stage."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tools.console import console, progress_bar

app = typer.Typer()


@app.callback()
def _captures() -> None:
    """Keeps ``synth`` a subcommand while it is the only one."""


@app.command()
def synth(
    config: Annotated[Path, typer.Argument(help="Recipe, for example configs/data/demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes to the recipe.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the capture; continues what an earlier run began.")] = Path(
        "capture"
    ),
    head_model: Annotated[
        str | None, typer.Option(help="'procedural', or the path of an ICT Face Model .npz or checkout.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=0, help="Rendering processes; one a core by default.")] = None,
) -> None:
    """Render people in a synthetic light stage. Run the same command again to continue after an interruption."""
    from datasets.config import load_config
    from datasets.lightstage.heads import PROCEDURAL
    from datasets.lightstage.stage import StageConfig
    from datasets.lightstage.synth import synthesize

    stage = load_config(StageConfig, config, overrides or [])
    spec = head_model or stage.head_model
    if spec != PROCEDURAL:  # an absolute path, because the capture is read from other folders
        spec = str(Path(spec).expanduser().resolve())
    with progress_bar("frames") as report:
        capture = synthesize(dataclasses.replace(stage, head_model=spec), out, processes=processes, report=report)
    cameras, frames = len(capture.info.cameras), len(capture.frames())
    console.print(f"{out}: {len(capture.info.subjects)} subjects, {frames} frames, {cameras} cameras")
