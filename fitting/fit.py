"""``fit``: photos to an avatar bundle, stage by stage, each kept until the bundle is whole."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from datasets.config import to_dict
from datasets.errors import VrmmError
from fitting.avatar import Avatar, check_target, prior_sha256, read_description
from fitting.bank import TrainingBank
from fitting.camerafile import read_camera_file
from fitting.diagnostics import drift, input_metrics, judge, light_estimate
from fitting.finetune import Finetuned, finetune
from fitting.inversion import Inversion, Progress, invert
from fitting.landmarks import LandmarkSource
from fitting.photo import Photo, read_photo
from fitting.recipe import FitRecipe
from fitting.rendering import render_solution
from fitting.resume import fit_key, inversion_key, load_inversion, save_inversion, working_folder
from fitting.views import Views, stack_photos
from prior.render import RenderConfig
from prior.runfolder import RunLock, library_versions
from prior.vrmm import VRMM
from prior.weights import load_weights

CURVE_POINTS = 100
"""Most values of a loss curve that fit.json holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prior:
    """A trained prior, read once and used for any number of fits."""

    folder: Path
    sha256: str
    model: VRMM
    rendering: RenderConfig
    bank: TrainingBank

    @staticmethod
    def load(folder: Path | str) -> "Prior":
        """Raises VrmmError where ``folder`` is not a run folder."""
        folder = Path(folder)
        model, rendering, _ = load_weights(folder)
        return Prior(
            folder=folder,
            sha256=prior_sha256(folder),
            model=model.requires_grad_(False),
            rendering=rendering,
            bank=TrainingBank.of_prior(folder, model),
        )


def fit(
    photos: Sequence[Path],
    prior: Path | Prior,
    recipe: FitRecipe,
    out: Path,
    *,
    cameras: Path | None = None,
    landmarks: LandmarkSource | None = None,
    inversion_from: Path | None = None,
    progress: Progress | None = None,
) -> Avatar:
    """Photos of one person to an avatar bundle in ``out``.

    An interrupted fit leaves no bundle; the same call again continues after its last finished stage. Where the
    bundle of just this fit is there already, it is read and returned.

    Args:
        photos: 1 to 8 pictures, each with landmarks beside it.
        prior: run folder of a trained prior, or one that is read already.
        recipe: of the fit.
        out: folder of the avatar.
        cameras: a camera file (``fitting.camerafile``); without one the lenses are found from the landmarks.
        landmarks: where landmarks come from; files beside the photos by default.
        inversion_from: an avatar of the same photos, prior and inversion recipe, whose inversion is taken over.
        progress: called as ``progress(stage, done, total, loss)``.

    Raises:
        VrmmError: bad photos, landmarks, cameras or prior, or an ``out`` that holds something else.
    """
    out = Path(out)
    check_target(out)
    views = stack_photos(read_photos(photos, recipe.image_size, cameras, landmarks))
    prior = prior if isinstance(prior, Prior) else Prior.load(prior)
    key = fit_key(prior.sha256, views, recipe)
    done = _finished(out, key)
    if done is not None:
        return done
    source = {
        "photos": [str(Path(photo).absolute()) for photo in photos],
        "cameras": None if cameras is None else str(Path(cameras).absolute()),
        "prior": str(prior.folder.absolute()),
    }
    torch.set_num_threads(recipe.threads)
    work = working_folder(out)
    with RunLock(work):
        keeping = _Inversions(work=work, other=inversion_from, key=inversion_key(prior.sha256, views, recipe))
        inversion, seconds = keeping.get(
            lambda: invert(prior.model, prior.rendering, views, recipe, prior.bank, progress)
        )
        began = time.perf_counter()
        tuned = finetune(prior.model, prior.rendering, views, inversion.solution, recipe, prior.bank, progress)
        times = {"inversion": seconds, "finetuning": time.perf_counter() - began}
        avatar = Avatar(
            model=tuned.model,
            rendering=prior.rendering,
            solution=tuned.solution,
            inversion=inversion.solution,
            description=_description(prior, views, recipe, key, keeping.key) | {"source": source},
            report={"seconds": times, **_report(prior, views, inversion, tuned, recipe)},
        )
        avatar.save(out)
        shutil.rmtree(work, ignore_errors=True)
    return avatar


def read_photos(
    paths: Sequence[Path], size: int, cameras: Path | None = None, landmarks: LandmarkSource | None = None
) -> list[Photo]:
    """All photos of a fit, with their cameras where a camera file is given. Raises VrmmError as ``fit``."""
    names = [Path(path).name for path in paths]
    if len(set(names)) != len(names):
        raise VrmmError("two photos have the same file name; rename one, so that reports can tell them apart")
    known = {} if cameras is None else read_camera_file(cameras)
    missing = [name for name in names if known and name not in known]
    if missing:
        raise VrmmError(f"{cameras} has no camera for {missing[0]}; add it, or fit without a camera file")
    return [read_photo(Path(path), size, known.get(Path(path).name), landmarks) for path in paths]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Inversions:
    """Finds the inversion of ``key`` in the working folder or in ``other``, or makes it and keeps it."""

    work: Path
    other: Path | None
    key: str

    def get(self, make: Callable[[], Inversion]) -> tuple[Inversion, float]:
        for folder in (self.work, self.other):
            kept = None if folder is None else load_inversion(folder, self.key)
            if kept is not None:
                return kept
        began = time.perf_counter()
        inversion = make()
        seconds = time.perf_counter() - began
        save_inversion(self.work, inversion, self.key, seconds)
        return inversion, seconds


def _finished(out: Path, key: str) -> Avatar | None:
    """The avatar that an earlier call of the same fit has made."""
    if not out.is_dir() or not any(out.iterdir()):
        return None
    if read_description(out).get("key") != key:
        raise VrmmError(f"{out} holds an avatar of other photos or another recipe; choose another --out or delete it")
    return Avatar.load(out)


def _description(prior: Prior, views: Views, recipe: FitRecipe, key: str, inversion: str) -> dict[str, Any]:
    return {
        "key": key,
        "inversion_key": inversion,
        "prior": {"sha256": prior.sha256, "subjects": len(prior.model.subjects)},
        "photos": list(views.names),
        "placed": views.placed,
        "crops": views.crops.tolist(),
        "recipe": to_dict(recipe),
        "libraries": library_versions(),
    }


@torch.no_grad()
def _report(prior: Prior, views: Views, inversion: Inversion, tuned: Finetuned, recipe: FitRecipe) -> dict[str, Any]:
    inverted = input_metrics(render_solution(prior.model, inversion.solution, prior.rendering), views)
    finetuned = input_metrics(render_solution(tuned.model, tuned.solution, prior.rendering), views)
    reasons = judge(finetuned)
    return {
        "sound": not reasons,
        "reasons": reasons,
        "input": {"inversion": inverted, "finetuned": finetuned},
        "losses": {
            "inversion": _thinned(inversion.losses),
            "finetuning": _thinned(tuned.losses),
            "locality": _thinned(tuned.locality),
        },
        "diagnostics": drift(prior.model, tuned.model, tuned.solution, prior.rendering, prior.bank, recipe.seed),
        "light": light_estimate(prior.model, tuned.solution.light),
        "focal": tuned.solution.cameras.intrinsics[:, 0, 0].tolist(),
    }


def _thinned(values: list[float]) -> list[float]:
    step = max(1, -(-len(values) // CURVE_POINTS))
    return values[::step]
