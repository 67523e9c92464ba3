"""Whether a run folder can be continued with a recipe and its data."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.capture import CaptureInfo
from datasets.config import load_config, to_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from prior.recipe import TrainRecipe

FILE = "data.json"
LISTED = 3
"""Differences that an error names."""


def describe_data(info: CaptureInfo, subjects: tuple[str, ...]) -> dict[str, Any]:
    """What a run learns from its capture by number or place: cameras, lamps and people."""
    return {
        "capture": info.name,
        "subjects": list(subjects),
        "cameras": {camera.name: _digest(camera.world_to_camera, camera.intrinsics) for camera in info.cameras},
        "lamps": _digest(info.light_positions),
    }


def remember_data(folder: Path, info: CaptureInfo, subjects: tuple[str, ...]) -> None:
    """Write ``data.json``."""
    atomic_write_json(Path(folder) / FILE, describe_data(info, subjects))


def check_continues(folder: Path, recipe: TrainRecipe, info: CaptureInfo, subjects: tuple[str, ...]) -> None:
    """Refuse to continue a run with another model, or on shards of another rig or other people.

    Raises:
        VrmmError: names the first differences.
    """
    differences = [*_model_differences(folder, recipe), *_data_differences(folder, info, subjects)]
    if differences:
        shown = "; ".join(differences[:LISTED])
        more = f" and {len(differences) - LISTED} more" if len(differences) > LISTED else ""
        raise VrmmError(f"{folder} cannot be continued: {shown}{more}; go back, or choose another --out")


def _model_differences(folder: Path, recipe: TrainRecipe) -> Iterator[str]:
    path = Path(folder) / "recipe.yaml"
    if not path.exists():
        return
    before, now = to_dict(load_config(TrainRecipe, path)), to_dict(recipe)
    for key in ("template", "template_resolution", "cameras"):
        if before[key] != now[key]:
            yield f"it was begun with {key}={before[key]}, not {now[key]}"
    if before["optimizer"]["muon"] != now["optimizer"]["muon"]:
        yield f"it was begun with optimizer.muon={before['optimizer']['muon']}, not {now['optimizer']['muon']}"
    for key, value in before["model"].items():
        if now["model"][key] != value:
            yield f"it was begun with model.{key}={value}, not {now['model'][key]}"


def _data_differences(folder: Path, info: CaptureInfo, subjects: tuple[str, ...]) -> Iterator[str]:
    path = Path(folder) / FILE
    if not path.exists():
        return
    before, now = read_json(path, "a description of training data"), describe_data(info, subjects)
    if before["subjects"] != now["subjects"]:
        yield f"it was begun on {len(before['subjects'])} people of {before['capture']}, not these {len(subjects)}"
    for name in dict.fromkeys([*before["cameras"], *now["cameras"]]):
        if name not in now["cameras"]:
            yield f"these shards lack its camera {name}"
        elif name not in before["cameras"]:
            yield f"these shards have a camera {name} that it has not seen"
        elif before["cameras"][name] != now["cameras"][name]:
            yield f"camera {name} stands elsewhere in these shards"
    if before["lamps"] != now["lamps"]:
        yield "these shards have other lamps"


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()[:16]
