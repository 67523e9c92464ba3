"""Single photos of many people: whether the inversion from the initializer goes astray, says so, and saves steps."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, Pose
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from datasets.lightstage.rig import direction, look_at_origin
from fitting.avatar import Avatar
from fitting.benchmark.measure import placement_errors
from fitting.benchmark.people import BenchmarkStage, Someone
from fitting.benchmark.photos import Photograph, hand_held, photo_place, take
from fitting.benchmark.recipe import BenchmarkConfig
from fitting.diagnostics import input_metrics, judge_inversion, landmark_error
from fitting.fit import Prior, read_photos
from fitting.foreground import with_estimated_masks
from fitting.initializer.benchmark import compare_steps
from fitting.inversion import Inversion, invert
from fitting.photo import Photo
from fitting.recipe import FitRecipe
from fitting.rendering import render_solution
from fitting.truth import Category, FitShot, Moment, Placed, compare
from fitting.views import Views, stack_photos
from prior.cameras import CameraBatch
from prior.evaluation.truth import TruthStore
from prior.metrics import mask_iou
from prior.render import render_head

SIDEWAYS, UPWARDS, LOWEST = 50.0, 20.0, -12.0
"""Degrees that the cameras go around a head."""
ASIDE = 45.0
"""Degrees between a photo and the view that an inversion is judged from."""
LARGEST_TURN, LARGEST_DISTANCE, LEAST_OVERLAP = 15.0, 0.08, 0.85
"""An inversion has gone astray where the head is turned by more degrees than this from its true pose, its landmarks are
farther than this from the true ones (in sides of the face's box), or, from aside, its outline overlaps less with the
true one than this and than the outline of the mean head in the true pose: how far a head goes back no front shows."""
STEPS = 40
"""What a check counts beside ``Case.steps``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinglePhoto:
    """A photo, and the view from aside."""

    photo: Photograph
    aside: FitShot


def single_photo(stage: BenchmarkStage, someone: Someone, config: BenchmarkConfig) -> SinglePhoto:
    """A photo of a person from anywhere in front, with any expression, in a place or under a few lamps."""
    random = np.random.default_rng([config.seed, 1, someone.number])
    azimuth, elevation = random.uniform(-SIDEWAYS, SIDEWAYS), random.uniform(LOWEST, UPWARDS)
    frames = stage.frames(someone.subject)
    moment = Moment.of_frame(frames[int(random.integers(len(frames)))])
    lamps = stage.held_out_lights(1 + someone.number)[-1].light
    light = photo_place(stage, someone.number) if random.random() < 2 / 3 else lamps
    moment, rig = dataclasses.replace(moment, light=light), someone.head.rig
    camera = hand_held("photo", azimuth, elevation, random, rig)
    side = azimuth - ASIDE if azimuth > 0 else azimuth + ASIDE
    view = look_at_origin(
        name="aside",
        position=rig.camera_distance * direction(side, 4.0),
        field_of_view=np.radians(rig.field_of_view_degrees),
        size=rig.image_size,
    )
    return SinglePhoto(
        photo=take(stage, f"{someone.name}.png", moment, camera),
        aside=FitShot(category=Category.NOVEL_VIEW, camera=view, truth=moment.seen(view)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A job of ``fitting.pool``: one photo inverted from the initializer, and perhaps from the mean.

    Attributes:
        name: of the person.
        path: of the result.
        prior: run folder, with its initializer.
        recipe: of the inversion.
        photos: folder that has the photo.
        single: the photo.
        store: has the truth of the view from aside.
        compared: count the steps from the mean, too.
    """

    name: str
    path: Path
    prior: Path
    recipe: FitRecipe
    photos: Path
    single: SinglePhoto
    store: TruthStore
    compared: bool

    @property
    def subject(self) -> str:
        """Itself: any process may take any check."""
        return self.key

    @property
    def key(self) -> str:
        """Names the check."""
        return f"initializer/{self.name}"

    @property
    def steps(self) -> int:
        """As of ``Case``."""
        return 2 * STEPS if self.compared else STEPS

    @property
    def done(self) -> bool:
        return self.path.is_file() and self.result()["compared"] >= self.compared

    def fit(self, report: Callable[[int], object]) -> None:
        """Write the result, unless it is there."""
        if self.done:
            return
        report(0)
        torch.set_num_threads(self.recipe.threads)
        prior = Prior.load(self.prior, initializer=True)
        photos = read_photos([self.photos / self.single.photo.name], self.recipe.image_size)
        views = stack_photos(with_estimated_masks(photos, prior.model, prior.rendering))
        try:
            found = self._judged(prior, views, photos, self._invert(prior, views, self.recipe))
            report(STEPS)
            if self.compared:
                found |= self._steps(prior, views)
        except VrmmError as error:  # refused with a reason: the fit has failed, and says so
            found = {"sound": False, "flagged": True, "reasons": [str(error)]}
        atomic_write_json(self.path, {"name": self.name, "compared": self.compared, **found})

    def result(self) -> dict[str, Any]:
        """What was found."""
        return read_json(self.path, "the inversion of a single photo")

    @torch.no_grad()
    def _judged(self, prior: Prior, views: Views, photos: Sequence[Photo], inversion: Inversion) -> dict[str, Any]:
        solution = inversion.solution
        metrics = input_metrics(render_solution(prior.model, solution, prior.rendering), views)
        reasons = judge_inversion(metrics, landmark_error(prior.model, solution, views))
        errors = placement_errors(prior.model, solution, [self.single.photo], photos)
        avatar = Avatar(
            model=prior.model,
            rendering=prior.rendering,
            solution=solution,
            inversion=solution,
            description={"placed": False, "crops": views.crops.tolist()},
            report={},
        )
        place = Placed.of(avatar, [self.single.photo.camera], self.single.photo.moment.pose)
        shot = self.single.aside
        truth = self.store.get([shot.truth])[0]
        aside = compare(shot, truth, {"inversion": place}).metrics["inversion"]
        mean = mask_iou(mean_outline(prior, self.single.photo.moment.pose, shot.camera), torch.as_tensor(truth.mask))
        return {
            "sound": is_sound(errors["pose_degrees"], errors["landmark_error"], aside["mask_iou"], mean),
            "flagged": bool(reasons),
            "reasons": reasons,
            **errors,
            "input": metrics,
            "aside": aside,
            "mean_overlap": mean,
            "starts": inversion.starts,
        }

    def _steps(self, prior: Prior, views: Views) -> dict[str, Any]:
        """Steps to the loss that the inversion from the mean ends with, from both starts alone.

        Only one of them has a guess of the light, so the term that holds it there is left out: both minimise the same.
        """
        alone = dataclasses.replace(self.recipe.inversion, starts=1, light_guess=0.0)
        one = dataclasses.replace(self.recipe, inversion=alone)
        informed = self._invert(prior, views, one)
        mean = self._invert(dataclasses.replace(prior, initializer=None), views, one)
        saved = compare_steps(mean, informed, round(one.inversion.coarse * one.inversion.steps))
        return {"steps_from_mean": saved.mean_steps, "steps": saved.informed_steps}

    def _invert(self, prior: Prior, views: Views, recipe: FitRecipe) -> Inversion:
        return invert(prior.model, prior.rendering, views, recipe, prior.bank, initializer=prior.initializer)


def is_sound(degrees: float, landmarks: float, overlap: float, mean_overlap: float = 1.0) -> bool:
    """Whether an inversion ended near the truth, which only the benchmark knows.

    Args:
        degrees: between fitted and true head pose.
        landmarks: median distance from the true landmarks, in sides of the face's box.
        overlap: intersection over union of the outlines from aside.
        mean_overlap: that of the mean head in the true pose.
    """
    near = overlap >= min(LEAST_OVERLAP, mean_overlap)
    return degrees <= LARGEST_TURN and landmarks <= LARGEST_DISTANCE and near


@torch.no_grad()
def mean_outline(prior: Prior, pose: Pose, camera: Camera) -> Float[Tensor, "1 H W"]:
    """Alpha of the prior's mean identity, its face at rest, in a pose."""
    model = prior.model
    rotation, translation = (
        torch.as_tensor(np.asarray(value, np.float32))[None] for value in (pose.rotation, pose.translation)
    )
    light = torch.ones(1, model.config.light_directions, 3)
    identity, rest = model.identity_codes.weight.mean(dim=0, keepdim=True), torch.zeros(1, model.config.expression)
    cameras = CameraBatch.stack([camera])
    return render_head(model, identity, rest, light, rotation, translation, cameras, prior.rendering).alpha[0, 0]


def initializer_summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the initializer is worth.

    Returns:
        ``sound_fits``: inversions that ended near the truth. ``flag_agrees``: those of which the quality flag says
        the same as the truth. ``of``: all. ``steps_ratio``: steps from the initializer over steps from the mean to
        the loss that the latter ends with, the median over those that were compared; a photo whose loss was never
        reached is the largest of all. None where none was compared, or for most of them it was never reached.
    """
    ratios = [
        float("inf") if found["steps"] is None else found["steps"] / max(found["steps_from_mean"], 1)
        for found in results
        if "steps_from_mean" in found
    ]
    middle = statistics.median_high(ratios) if ratios else float("inf")
    return {
        "steps_ratio": middle if middle < float("inf") else None,
        "sound_fits": sum(found["sound"] for found in results),
        "flag_agrees": sum(found["sound"] != found["flagged"] for found in results),
        "of": len(results),
        "compared": len(ratios),
    }
