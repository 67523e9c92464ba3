"""What exports of a demo's avatar lose against the truth."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tools.bench.machine import machine
from tools.console import console

if TYPE_CHECKING:
    from torch import Tensor

    from datasets.capture import Camera
    from prior.cameras import CameraBatch


def export(
    files: Annotated[list[Path], typer.Argument(help="Files that vrmm export wrote of the avatar, --light photo.")],
    demo: Annotated[Path, typer.Option(help="Folder of vrmm demo.")] = Path("runs/demo"),
    photos: Annotated[str, typer.Option(help="Whose avatar: the folder under DEMO/fit.")] = "three_images",
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Compare exports, and the avatar itself, with the captured pictures of the moment that was photographed."""
    from datasets.files import atomic_write_json

    result = {**measure(demo, photos, files), "machine": machine()}
    table = Table(title="PSNR in the head mask against captured pictures, dB")
    for name in ("file", "photos", "other cameras", "lost there"):
        table.add_column(name, justify="left" if name == "file" else "right")
    for name, row in result["psnr"].items():
        loss = row["lost_other_cameras"]
        table.add_row(name, f"{row['photos']:.2f}", f"{row['other_cameras']:.2f}", f"{loss:.2f}")
    console.print(table)
    if json is not None:
        atomic_write_json(json, result)


def measure(demo: Path, photos: str, files: list[Path]) -> dict[str, Any]:
    """Mean PSNR over the cameras that took the photos and over all others, for the avatar and for each file."""
    import statistics

    from fitting.avatar import Avatar
    from fitting.inputs import subject_frames
    from fitting.rig import Gauge, pose_in_rig
    from prior.cameras import CameraBatch
    from prior.evaluation.run import load_run
    from prior.metrics import display
    from tools.demo.fits import PHOTO_SETS, photographed_frame
    from tools.export.build import open_export

    run = load_run(demo / "prior", demo / "shards")
    info = run.shards.info
    person = next(name for name in info.subjects if info.subject_splits[name] != "train")
    frame = photographed_frame(subject_frames(run.shards, person))
    taken = next(found for found in PHOTO_SETS if found.name == photos).cameras(run)
    avatar = Avatar.load(demo / "fit" / photos / "avatar")
    taken_by = [info.camera(name) for name in taken]
    pose = pose_in_rig(avatar, taken_by)
    assert frame.pose is not None
    gauge = Gauge.of_fit(pose, frame.pose, taken_by)
    readers: "dict[str, Callable[[Camera, CameraBatch], Tensor]]" = {
        "avatar": lambda camera, _: display(avatar.render(None, None, camera, pose).image)
    }
    for path in files:
        shown = open_export(path, avatar.solution.light)
        readers[str(path)] = lambda _, batch, shown=shown: shown(batch)[0].clamp(0.0, 1.0)
    rows: dict[str, dict[str, list[float]]] = {name: {"photos": [], "other_cameras": []} for name in readers}
    for camera in run.cameras("train"):  # the others' pictures are not captured
        image, mask = _captured(run.shards, frame.key, camera.name)
        placed = gauge.camera(camera)
        batch = CameraBatch.stack([_in_head_frame(placed, pose)])
        kind = "photos" if camera.name in taken else "other_cameras"
        for name, show in readers.items():
            rows[name][kind].append(_psnr(show(placed, batch), display(image), mask))
    means = {name: {kind: statistics.fmean(found) for kind, found in row.items()} for name, row in rows.items()}
    for row in means.values():
        for kind in ("photos", "other_cameras"):
            row[f"lost_{kind}"] = means["avatar"][kind] - row[kind]
    return {"person": person, "psnr": means}


def _captured(shards: Any, key: str, camera: str) -> tuple[Any, Any]:
    from datasets.views import read_frame

    batch = read_frame(shards, key, [camera])
    return batch.target_images[0, 0], batch.target_masks[0, 0]


def _in_head_frame(camera: Any, pose: Any) -> Any:
    """A camera of the world as the head sees it."""
    import dataclasses

    import numpy as np

    place = np.concatenate([pose.rotation, pose.translation[:, None]], axis=1)
    moved = camera.world_to_camera @ np.concatenate([place, [[0.0, 0.0, 0.0, 1.0]]])
    return dataclasses.replace(camera, world_to_camera=moved)


def _psnr(found: Any, wanted: Any, mask: Any) -> float:
    import math

    inside = (mask > 0.5).expand_as(found)
    return -10.0 * math.log10(max(float(((found - wanted)[inside] ** 2).mean()), 1e-12))
