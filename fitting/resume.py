"""The working folder of a fit: a finished inversion is kept there until the avatar is whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from datasets.config import to_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from fitting.avatar import INVERSION
from fitting.inversion import Inversion
from fitting.recipe import FitRecipe
from fitting.state import Solution
from fitting.views import Views


def working_folder(out: Path) -> Path:
    """Hidden, beside the avatar."""
    return out.parent / f".{out.name}.fitting"


def inversion_key(prior_sha256: str, views: Views, recipe: FitRecipe) -> str:
    """Changes whenever the inversion would come out differently."""
    values = to_dict(recipe)
    parts = {name: values[name] for name in ("image_size", "expressions", "losses", "inversion")}
    return _digest(prior_sha256, views, parts)


def fit_key(prior_sha256: str, views: Views, recipe: FitRecipe) -> str:
    """Changes whenever the avatar would come out differently."""
    parts = {name: value for name, value in to_dict(recipe).items() if name not in ("threads", "video")}
    return _digest(prior_sha256, views, parts)


def save_inversion(folder: Path, inversion: Inversion, key: str, seconds: float) -> None:
    """Write the inversion, whole or not at all."""
    facts = {"key": key, "seconds": seconds, "losses": inversion.losses, "photo": inversion.photo}
    facts["starts"] = inversion.starts
    atomic_write_bytes(folder / INVERSION, inversion.solution.npz(facts))


def load_inversion(folder: Path, key: str) -> tuple[Inversion, float] | None:
    """The inversion of that key in a working folder or an avatar, and its seconds; None where there is none."""
    try:
        solution, facts = Solution.read(folder / INVERSION)
    except VrmmError:
        return None
    if facts.get("key") != key:
        return None
    more = {name: facts[name] for name in ("photo", "starts") if name in facts}
    return Inversion(solution=solution, losses=facts["losses"], **more), float(facts["seconds"])


def _digest(prior_sha256: str, views: Views, parts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([prior_sha256, views.names, views.placed, parts], sort_keys=True).encode())
    cameras = views.cameras
    for tensor in (views.images, views.masks, views.landmarks, cameras.intrinsics, cameras.world_to_camera):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()
