"""One person with one set of photos: fitted in all stages, measured, and kept."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.files import atomic_write_bytes, atomic_write_json, read_json
from fitting.avatar import Avatar
from fitting.benchmark.measure import Measured, measure
from fitting.benchmark.photos import Photograph
from fitting.benchmark.recipe import PhotoSet
from fitting.fit import Prior
from fitting.recipe import Expressions, FitRecipe
from fitting.stages import STAGES, VIDEO_STEPS, fit_photo_stages, fit_video_stages
from fitting.truth import FitShot
from prior.evaluation.truth import TruthStore
from prior.lpips import LPIPS

RESULT, PICTURES = "result.json", "pictures.npz"
_TRUTH = "truth"
_COST = {PhotoSet.one_image: 1, PhotoSet.three_images: 2, PhotoSet.eight_images: 4, PhotoSet.video: 6}
"""Roughly, in parts of a video's sixth."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A job of ``fitting.pool``.

    Attributes:
        person: name in the benchmark.
        photo_set: what there is of them.
        folder: for avatars and result.
        prior: run folder, with its initializer.
        recipe: of the fits.
        photos: folder of all their photos, or of the frames of their video.
        taken: the photos or frames of this set.
        shots: what the avatars are compared with beside the photos.
        store: has the truth of the shots.
        lpips_weights: as of ``BenchmarkConfig``.
    """

    person: str
    photo_set: PhotoSet
    folder: Path
    prior: Path
    recipe: FitRecipe
    photos: Path
    taken: tuple[Photograph, ...]
    shots: tuple[FitShot, ...]
    store: TruthStore
    lpips_weights: str

    @property
    def subject(self) -> str:
        """Itself: any process may take any case."""
        return self.key

    @property
    def key(self) -> str:
        """Names the case."""
        return f"{self.person}/{self.photo_set.value}"

    @property
    def steps(self) -> int:
        """In parts that take about equally long."""
        return VIDEO_STEPS * _COST[self.photo_set] // _COST[PhotoSet.video]

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file()

    def fit(self, report: Callable[[int], object]) -> None:
        """Write avatars, ``pictures.npz`` and, last, ``result.json``; what is there is not made again."""
        if self.done:
            return
        torch.set_num_threads(self.recipe.threads)
        prior = Prior.load(self.prior, initializer=True)
        avatars = self._fit(prior, report)
        lpips = LPIPS(Path(self.lpips_weights)) if self.lpips_weights else None
        truths = self.store.get([shot.truth for shot in self.shots])
        found = measure(avatars, self.photos, self.taken, self.shots, truths, lpips)
        _write_pictures(self.folder / PICTURES, found)
        atomic_write_json(self.folder / RESULT, self._result(avatars, found))

    def result(self) -> dict[str, Any]:
        """result.json."""
        return read_json(self.folder / RESULT, "the result of a fit")

    def pictures(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """[N, H, W, 3] truth and, by stage, answers, in the order of the result's rows."""
        with np.load(self.folder / PICTURES, allow_pickle=False) as arrays:
            return arrays[_TRUTH], {stage: arrays[stage] for stage in STAGES}

    def _fit(self, prior: Prior, report: Callable[[int], object]) -> dict[str, Avatar]:
        share = self.steps / VIDEO_STEPS
        if self.photo_set is PhotoSet.video:
            return fit_video_stages(
                self.photos, prior, self.recipe, self.folder, report=lambda done: report(round(share * done))
            )
        count = self.photo_set.photos
        kind = Expressions.shared if count == 1 else Expressions.each
        recipe = dataclasses.replace(self.recipe, expressions=kind)
        total = recipe.inversion.informed(count) + 2 * recipe.finetune.steps
        return fit_photo_stages(
            [self.photos / photo.name for photo in self.taken],
            prior,
            recipe,
            self.folder,
            report=lambda done: report(round(self.steps * min(done / total, 1.0))),
        )

    def _result(self, avatars: dict[str, Avatar], found: Measured) -> dict[str, Any]:
        stages = {}
        for stage, avatar in avatars.items():
            seconds = avatar.report["seconds"]
            spent = seconds["inversion"] + seconds.get("reading", 0.0)
            tuning = 0.0 if stage == "inversion_only" else seconds["finetuning"]
            stages[stage] = {**found.fits[stage], "seconds": spent + tuning, "sound": avatar.report["sound"]}
        return {
            "person": self.person,
            "set": self.photo_set.value,
            "stages": stages,
            "starts": avatars["finetuned"].report.get("starts", {}),
            "rows": found.rows,
        }


def _write_pictures(path: Path, found: Measured) -> None:
    data = io.BytesIO()
    arrays: dict[str, Any] = {_TRUTH: found.truth, **found.answers}
    np.savez_compressed(data, **arrays)
    atomic_write_bytes(path, data.getvalue())
