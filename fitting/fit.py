"""``fit``: photos to an avatar bundle, stage by stage, each kept until the bundle is whole."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from datasets.config import to_dict
from datasets.errors import VrmmError
from fitting.avatar import Avatar, check_target, prior_sha256, read_description
from fitting.bank import TrainingBank
from fitting.camerafile import read_camera_file
from fitting.diagnostics import drift, input_metrics, judge, landmark_error, light_estimate
from fitting.finetune import Finetuned, finetune
from fitting.foreground import with_estimated_masks
from fitting.initializer.landmarks import NetworkLandmarks
from fitting.initializer.storage import Initializer, has_initializer, load_initializer
from fitting.inversion import Inversion, Progress, invert
from fitting.landmarks import FirstOf, LandmarkFiles, LandmarkSource
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
    initializer: Initializer | None = None

    @staticmethod
    def load(folder: Path | str, initializer: bool | None = None) -> "Prior":
        """Read a run folder.

        Args:
            folder: of the run.
            initializer: whether its initializer is used; None for where there is one.

        Raises:
            VrmmError: ``folder`` is not a run folder, or its initializer is wanted and absent, or not its own.
        """
        folder = Path(folder)
        model, rendering, _ = load_weights(folder)
        sha256 = prior_sha256(folder)
        wanted = has_initializer(folder) if initializer is None else initializer
        return Prior(
            folder=folder,
            sha256=sha256,
            model=model.requires_grad_(False),
            rendering=rendering,
            bank=TrainingBank.of_prior(folder, model),
            initializer=load_initializer(folder, sha256) if wanted else None,
        )

    @property
    def fingerprint(self) -> str:
        """Changes whenever fits would come out differently."""
        return self.sha256 if self.initializer is None else f"{self.sha256}+{self.initializer.sha256}"

    @property
    def landmarks(self) -> LandmarkSource:
        """Files beside the photos; without one, what the initializer finds."""
        if self.initializer is None:
            return LandmarkFiles()
        return FirstOf([LandmarkFiles(), NetworkLandmarks(self.initializer)])


def fit(
    photos: Sequence[Path],
    prior: Path | Prior,
    recipe: FitRecipe,
    out: Path,
    *,
    cameras: Path | None = None,
    landmarks: LandmarkSource | None = None,
    face: int | None = None,
    inversion_from: Path | None = None,
    progress: Progress | None = None,
) -> Avatar:
    """Photo files of one person to an avatar bundle in ``out``; as ``fit_photos``, which has the details.

    Args:
        photos: 1 to 8 pictures, each with landmarks beside it, or in sight of ``landmarks``.
        prior, recipe, out, inversion_from, progress: of ``fit_photos``.
        cameras: a camera file (``fitting.camerafile``); without one the lenses are found from the landmarks.
        landmarks: where landmarks come from; by default files beside the photos, and where there is none the
            prior's initializer.
        face: number, from the left, of the face to fit where a photo shows several.

    Raises:
        VrmmError: bad photos, landmarks, cameras or prior, or an ``out`` that holds something else.
    """
    check_target(Path(out))
    prior = prior if isinstance(prior, Prior) else Prior.load(prior)
    read = read_photos(photos, recipe.image_size, cameras, landmarks or prior.landmarks, face)
    source = {
        "photos": [str(Path(photo).absolute()) for photo in photos],
        "cameras": None if cameras is None else str(Path(cameras).absolute()),
        "prior": str(prior.folder.absolute()),
    }
    return fit_photos(read, prior, recipe, out, inversion_from=inversion_from, source=source, progress=progress)


def fit_photos(
    photos: Sequence[Photo],
    prior: Path | Prior,
    recipe: FitRecipe,
    out: Path,
    *,
    inversion_from: Path | None = None,
    source: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Avatar:
    """Photos of one person to an avatar bundle in ``out``.

    Masks that are not known are estimated with the prior's own heads (``fitting.foreground``).

    An interrupted fit leaves no bundle; the same call again continues after its last finished stage. Where the
    bundle of just this fit is there already, it is read and returned.

    Args:
        photos: 1 to 8.
        prior: run folder of a trained prior, or one that is read already.
        recipe: of the fit.
        out: folder of the avatar.
        inversion_from: an avatar of the same photos, prior and inversion recipe, whose inversion is taken over.
        source: where photos, cameras and prior were, for people who read the bundle's description.
        progress: called as ``progress(stage, done, total, loss)``.

    Raises:
        VrmmError: bad photos, landmarks, cameras or prior, or an ``out`` that holds something else.
    """
    out = Path(out)
    check_target(out)
    stack_photos(photos)
    prior = prior if isinstance(prior, Prior) else Prior.load(prior)
    torch.set_num_threads(recipe.threads)
    views = stack_photos(with_estimated_masks(photos, prior.model, prior.rendering))
    key = fit_key(prior.fingerprint, views, recipe)
    done = finished_avatar(out, key, prior)
    if done is not None:
        return done
    if inversion_from is not None:
        _check_prior(inversion_from, prior)
    described = {} if source is None else {"source": dict(source)}
    work = working_folder(out)
    with RunLock(work):
        keeping = _Inversions(work=work, other=inversion_from, key=inversion_key(prior.fingerprint, views, recipe))
        inversion, seconds = keeping.get(
            lambda: invert(
                prior.model, prior.rendering, views, recipe, prior.bank, progress, initializer=prior.initializer
            )
        )
        began = time.perf_counter()
        tuned = finetune(prior.model, prior.rendering, views, inversion.solution, recipe, prior.bank, progress)
        times = {"inversion": seconds, "finetuning": time.perf_counter() - began}
        avatar = Avatar(
            model=tuned.model,
            rendering=prior.rendering,
            solution=tuned.solution,
            inversion=inversion.solution,
            description=_description(prior, views, recipe, key, keeping.key) | described,
            report={"seconds": times, **_report(prior, views, inversion, tuned, recipe)},
        )
        avatar.save(out)
        shutil.rmtree(work, ignore_errors=True)
    return avatar


def read_photos(
    paths: Sequence[Path],
    size: int,
    cameras: Path | None = None,
    landmarks: LandmarkSource | None = None,
    face: int | None = None,
) -> list[Photo]:
    """All photos of a fit, with their cameras where a camera file is given. Raises VrmmError as ``fit``."""
    names = [Path(path).name for path in paths]
    if len(set(names)) != len(names):
        raise VrmmError("two photos have the same file name; rename one, so that reports can tell them apart")
    known = {} if cameras is None else read_camera_file(cameras)
    missing = [name for name in names if known and name not in known]
    if missing:
        raise VrmmError(f"{cameras} has no camera for {missing[0]}; add it, or fit without a camera file")
    return [read_photo(Path(path), size, known.get(Path(path).name), landmarks, face) for path in paths]


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


def finished_avatar(out: Path, key: str, prior: Prior) -> Avatar | None:
    """The avatar that an earlier call of the same fit has made; None where ``out`` is empty.

    Raises:
        VrmmError: ``out`` holds another avatar.
    """
    if not out.is_dir() or not any(out.iterdir()):
        return None
    _check_prior(out, prior)
    if read_description(out).get("key") != key:
        raise VrmmError(f"{out} holds an avatar of other photos or another recipe; choose another --out or delete it")
    return Avatar.load(out)


def _check_prior(avatar: Path, prior: Prior) -> None:
    """Raises VrmmError where ``avatar`` was fitted with another prior."""
    own = str(read_description(avatar).get("prior", {}).get("sha256", ""))
    if own != prior.sha256:
        raise VrmmError(
            f"{avatar} is an avatar of another prior (weights {own[:12]}…) than {prior.folder}; choose another folder"
        )


def _description(prior: Prior, views: Views, recipe: FitRecipe, key: str, inversion: str) -> dict[str, Any]:
    return {
        "key": key,
        "inversion_key": inversion,
        "prior": {"sha256": prior.sha256, "subjects": len(prior.model.subjects)},
        "initializer": None if prior.initializer is None else prior.initializer.sha256,
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
    landmarks = landmark_error(prior.model, inversion.solution, views)
    reasons = judge(finetuned, inverted, landmarks)
    return {
        "sound": not reasons,
        "reasons": reasons,
        "input": {"inversion": inverted, "finetuned": finetuned},
        "starts": inversion.starts,
        "losses": {
            "inversion": thinned(inversion.losses),
            "finetuning": thinned(tuned.losses),
            "locality": thinned(tuned.locality),
        },
        "diagnostics": {
            **drift(prior.model, tuned.model, tuned.solution, prior.rendering, prior.bank, recipe.seed),
            "landmark_error": landmarks,
        },
        "light": light_estimate(prior.model, tuned.solution.light),
        "focal": tuned.solution.cameras.intrinsics[:, 0, 0].tolist(),
    }


def thinned(values: list[float]) -> list[float]:
    """At most ``CURVE_POINTS`` of a loss's values, evenly spaced."""
    step = max(1, -(-len(values) // CURVE_POINTS))
    return values[::step]
