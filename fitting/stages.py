"""A fit with what it is compared with: the inversion alone, and fine-tuning without locality regularisation."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from fitting.avatar import Avatar, inverted_avatar
from fitting.fit import Prior, fit
from fitting.recipe import FitRecipe, without_locality
from fitting.video.fit import STAGES as VIDEO_STAGES
from fitting.video.fit import fit_video, video_share

STAGES = {"inversion_only": "inversion", "finetuned": "fine-tuned", "finetuned_without_lr": "without locality"}
"""Keys of results, in the words of sheets and tables."""
VIDEO_STEPS = 1000
"""Parts in which the progress of ``fit_video_stages`` is told."""
VIDEO_FIRST = 0.85
"""Share of them before the second fine-tuning."""

_AVATAR, _WITHOUT, _TRACKED = "avatar", "avatar_without_lr", "tracked"


def fit_photo_stages(
    photos: Sequence[Path],
    prior: Prior,
    recipe: FitRecipe,
    folder: Path,
    *,
    cameras: Path | None = None,
    report: Callable[[int], object] = lambda steps: None,
) -> dict[str, Avatar]:
    """Avatars by the keys of ``STAGES``, in ``folder``; those that are there are kept, and the inversion is made once.

    Args:
        photos, prior, recipe, cameras: as of ``fitting.fit.fit``.
        folder: for the avatars.
        report: called with the steps done.

    Raises:
        VrmmError: as ``fit``.
    """
    before = {"inversion": 0, "fine-tuning": _inversion_steps(prior, recipe, len(photos))}

    def run(recipe: FitRecipe, name: str, offset: int, inversion_from: Path | None) -> Avatar:
        return fit(
            photos,
            prior,
            recipe,
            folder / name,
            cameras=cameras,
            inversion_from=inversion_from,
            progress=lambda stage, done, steps, loss: report(offset + before[stage] + done),
        )

    avatar = run(recipe, _AVATAR, 0, None)
    without = run(without_locality(recipe), _WITHOUT, recipe.finetune.steps, folder / _AVATAR)
    return _stages(avatar, without, prior)


def fit_video_stages(
    video: Path,
    prior: Prior,
    recipe: FitRecipe,
    folder: Path,
    *,
    report: Callable[[int], object] = lambda steps: None,
) -> dict[str, Avatar]:
    """As ``fit_photo_stages`` for a video or a folder of its frames; ``report`` hears parts of ``VIDEO_STEPS``."""
    tracked = folder / _TRACKED

    def run(recipe: FitRecipe, name: str, share: Callable[[str, int, int], float]) -> Avatar:
        return fit_video(
            video,
            prior,
            recipe,
            folder / name,
            tracked_in=tracked,
            progress=lambda stage, done, total, loss: report(round(VIDEO_STEPS * share(stage, done, total))),
        )

    def second(stage: str, done: int, total: int) -> float:
        tuned = done / max(total, 1) if stage == VIDEO_STAGES[-1] else 0.0
        return VIDEO_FIRST + (1.0 - VIDEO_FIRST) * tuned

    avatar = run(recipe, _AVATAR, lambda stage, done, total: VIDEO_FIRST * video_share(stage, done, total))
    without = run(without_locality(recipe), _WITHOUT, second)
    shutil.rmtree(tracked, ignore_errors=True)
    return _stages(avatar, without, prior)


def _inversion_steps(prior: Prior, recipe: FitRecipe, photos: int) -> int:
    return recipe.inversion.steps if prior.initializer is None else recipe.inversion.informed(photos)


def _stages(avatar: Avatar, without: Avatar, prior: Prior) -> dict[str, Avatar]:
    return {
        "inversion_only": inverted_avatar(avatar, prior.folder),
        "finetuned": avatar,
        "finetuned_without_lr": without,
    }
