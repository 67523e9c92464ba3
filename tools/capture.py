"""``vrmm capture``: captures from the synthetic light stage, and those of others as shards."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from datasets.readers.formats import READERS
from tools.console import console, progress_bar

app = typer.Typer()


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


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(help="Of the capture: " + ", ".join(READERS) + ".")],
    source: Annotated[Path, typer.Argument(help="The capture as it was downloaded, or a folder of several.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value settings of the format.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the shards; continues what an earlier run began.")] = Path(
        "shards"
    ),
    subjects: Annotated[list[str] | None, typer.Option(help="People, separated by commas; all by default.")] = None,
    cameras: Annotated[list[str] | None, typer.Option(help="Cameras, separated by commas; all by default.")] = None,
    frames: Annotated[str, typer.Option(help="first:end:step in the capture's own numbers, such as 0:600:3.")] = ":",
    height: Annotated[int, typer.Option(min=0, help="Of the pictures, pixels; 0 keeps the original files.")] = 0,
    held_out_subjects: Annotated[list[str] | None, typer.Option(help="People never to be trained on.")] = None,
    held_out_cameras: Annotated[list[str] | None, typer.Option(help="Cameras never to be trained on.")] = None,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Frames in one tar.")] = 64,
    processes: Annotated[int | None, typer.Option(min=0, help="Reading processes; one a core by default.")] = None,
) -> None:
    """Write a public capture as shards. Run the same command again to continue after an interruption."""
    from datasets.import_capture import ImportRequest, import_captures
    from datasets.readers.reader import FrameRange, Selection

    request = ImportRequest(
        format=format,
        source=source,
        subjects=_names(subjects),
        selection=Selection(cameras=_names(cameras), frames=FrameRange.parse(frames)),
        overrides=tuple(overrides or ()),
        height=height,
        held_out_subjects=_names(held_out_subjects),
        held_out_cameras=_names(held_out_cameras),
    )
    with progress_bar("frames") as report:
        manifests = import_captures(
            request, out, samples_per_shard=samples_per_shard, processes=processes, report=report
        )
    for folder, manifest in manifests.items():
        count, size = sum(shard.samples for shard in manifest.shards), sum(shard.bytes for shard in manifest.shards)
        console.print(f"{folder}: {count} frames in {len(manifest.shards)} shards, {size / 1e6:.1f} MB")


def _names(texts: list[str] | None) -> tuple[str, ...]:
    """Names out of repeated options and of lists with commas."""
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())
