"""``vrmm shards``: a capture as WebDataset tars, and whether they are still what was written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.console import console, progress_bar

if TYPE_CHECKING:
    from datasets.capture import CaptureInfo, ImageEncoding, Source
    from datasets.manifest import Manifest

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="Folder with shards, capture.json and manifest.json.")]


@app.command()
def build(
    capture: Annotated[Path, typer.Argument(help="Folder of a capture: capture.json and frames/.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards.")],
    samples_per_shard: Annotated[int, typer.Option(help="Frames in one tar.")] = 64,
) -> None:
    """Write a capture as shards; run again after an interruption to continue."""
    from datasets.folder import FolderCapture
    from datasets.shards import build_shards

    with progress_bar("frames") as report:
        manifest = build_shards(FolderCapture(capture), out, samples_per_shard=samples_per_shard, progress=report)
    print(f"{out}: {_counts(manifest)}")


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of shards, two or more.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged set.")],
    name: Annotated[str, typer.Option(help="Of the merged set; by default that of its folder.")] = "",
    same_subjects: Annotated[
        bool, typer.Option("--same-subjects", help="Subjects of one name are one person, not namesakes.")
    ] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the tars rather than link them.")] = False,
) -> None:
    """Several captures as one training set, each with its own rig, light and colour; the tars stay as they are."""
    from datasets.shard_merge import merge_shards

    with progress_bar("bytes") as report:
        manifest = merge_shards(
            folders, out, name=name or None, same_subjects=same_subjects, copy=copy, progress=report
        )
    print(f"{out}: {_counts(manifest)}")


@app.command()
def verify(
    folder: Folder,
    repair: Annotated[
        bool, typer.Option("--repair-manifest", help="Make manifest.json anew from the tars; keep the old one.")
    ] = False,
) -> None:
    """Read every byte and print one line per problem; status 1 if there is any."""
    from datasets.manifest import read_manifest
    from datasets.shards import verify_shards

    if repair:
        _repair(folder)
        return
    with progress_bar("bytes") as report:
        problems = verify_shards(folder, report)
    for problem in problems:
        print(" ".join(str(problem).split()))
    if problems:
        raise typer.Exit(1)
    print(f"{folder}: {_counts(read_manifest(folder))}, all as written")


def _repair(folder: Path) -> None:
    from datasets.shard_repair import repair_manifest

    with progress_bar("bytes") as report:
        done = repair_manifest(folder, report)
    for problem in done.left_out:
        print(" ".join(str(problem).split()))
    for sentence in done.unknown:
        print(f"unknown: {sentence}")
    kept = f", the old one is {done.kept.name}" if done.kept else ""
    print(f"{folder}: {_counts(done.manifest)} in the manifest{kept}")
    if done.left_out:
        raise typer.Exit(1)


@app.command()
def label(folder: Folder) -> None:
    """Read what balanced sampling goes by from every sample into labels.json; for shards that will be read remotely."""
    from datasets.labels import label_shards
    from datasets.shards import open_shards

    with progress_bar("samples") as report:
        labels = label_shards(open_shards(folder), report)
    print(f"{folder}: " + ", ".join(f"{len(values)} values of {kind.value}" for kind, values in labels.values.items()))


@app.command()
def info(folder: Folder) -> None:
    """Describe a folder of shards from its manifest."""
    from rich.table import Table

    from datasets.folder import read_capture_info
    from datasets.manifest import read_manifest

    description, manifest = read_capture_info(folder), read_manifest(folder)
    table = Table(show_header=False, box=None)
    for name, text in _facts(description, manifest):
        table.add_row(name, text)
    console.print(table)


def _counts(manifest: "Manifest") -> str:
    frames = sum(shard.samples for shard in manifest.shards)
    size = sum(shard.bytes for shard in manifest.shards)
    return f"{frames} frames in {len(manifest.shards)} shards, {size / 1e6:.1f} MB"


def _facts(description: "CaptureInfo", manifest: "Manifest") -> list[tuple[str, str]]:
    shards, cameras = manifest.shards, description.cameras
    sizes = sorted({(camera.width, camera.height) for camera in cameras})
    held_out_frames = sum(int(shard.held_out.sum()) for shard in shards)
    held_out_subjects = sum(description.subject_splits[subject] != "train" for subject in description.subjects)
    held_out_cameras = sum(camera.split != "train" for camera in cameras)
    encodings = dict.fromkeys(_encoding(description.encoding_of(camera)) for camera in cameras)
    facts = [
        ("capture", description.name),
        ("licence", description.licence),
        ("shards", _counts(manifest)),
        ("subjects", f"{len(description.subjects)}, {held_out_subjects} held out"),
        ("frames", f"{sum(shard.samples for shard in shards)}, {held_out_frames} held out"),
        ("cameras", f"{len(cameras)}, {held_out_cameras} held out"),
        ("image size", ", ".join(f"{width}x{height}" for width, height in sizes)),
        ("encoding", "; ".join(encodings)),
        ("lamps", f"{len(description.light_positions)} in the rig, at most {max(s.lamps for s in shards)} burn"),
    ]
    return facts + [(source.name, _source_facts(description, manifest, source)) for source in description.sources]


def _encoding(encoding: "ImageEncoding") -> str:
    return f"{encoding.transfer}, {encoding.bits} bits"


def _source_facts(description: "CaptureInfo", manifest: "Manifest", source: "Source") -> str:
    """One capture of a merged set in one line."""
    own = [shard for shard in manifest.shards if description.parts[description.part_of(shard.name)] == source]
    cameras = [description.camera(name) for name in source.cameras.values()]
    encodings = dict.fromkeys(_encoding(description.encoding_of(camera)) for camera in cameras)
    frames, lamps = sum(shard.samples for shard in own), max((shard.lamps for shard in own), default=0)
    return (
        f"{frames} frames of {len(source.subjects)} subjects, {len(cameras)} cameras ({'; '.join(encodings)}), "
        f"at most {lamps} lamps burn, {source.licence}"
    )
