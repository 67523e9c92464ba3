"""A fit against rendered truth: novel views, new light, new expressions; the numbers of fit.json."""

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, Frame, Light, Pose
from datasets.errors import VrmmError
from datasets.files import atomic_write_json
from datasets.lightstage.environment import EnvironmentMap, environment_names, make_environment
from datasets.lightstage.render import RenderedImage
from fitting.avatar import Avatar
from fitting.rig import Gauge, pose_in_rig
from prior.evaluate import light_stage
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun
from prior.evaluation.truth import StageMaker, TruthRequest, TruthStage, TruthStore
from prior.metrics import image_metrics, mask_iou, mean_metrics

Progress = Callable[[int, int], object]


class Category(enum.Enum):
    """What is new in a picture; the values are keys of fit.json."""

    INPUT = "input"
    NOVEL_VIEW = "novel_view"
    RELIGHT = "relight"
    EXPRESSION = "expression"


@dataclasses.dataclass(kw_only=True)
class FitTruthConfig:
    """How many pictures of each category, and how clean their truth.

    Attributes:
        lights, environments: held-out groups of lamps, as many held-out single lamps, and environment maps, each
            through two cameras.
        expressions: frames of training subjects, their strongest.
        samples: paths per pixel of the truth; 0 takes what the light stage finds clean.
        processes: that render truth; 0 renders in this one.
    """

    lights: int = 2
    environments: int = 2
    expressions: int = 8
    samples: int = 0
    processes: int = 2

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise VrmmError(f"{field.name}={getattr(self, field.name)} must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitShot:
    """One picture to compare.

    Attributes:
        category: what is new in it.
        camera: of the rig.
        light: new lamps in the world, or None for those of the photos.
        source: frame whose expression is worn, or None for that of the photos.
        truth: what the light stage renders for it.
    """

    category: Category
    camera: Camera
    light: Light | None
    source: Frame | None
    truth: TruthRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitComparison:
    """A shot with its truth, [3, H, W] answers by stage (and ``mean_image``), and their numbers."""

    shot: FitShot
    truth: Float[Tensor, "3 H W"]
    mask: Float[Tensor, "1 H W"]
    answers: dict[str, Float[Tensor, "3 H W"]]
    metrics: dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedSubject:
    """Whose avatars are measured.

    Attributes:
        run: the prior that they were fitted with.
        frame: the captured moment that the photos show.
        cameras: names of the cameras that took them, in the order of the photos.
        stages: avatars by name, for example ``inversion_only``, ``finetuned``, ``finetuned_without_lr``.
    """

    run: TrainedRun
    frame: Frame
    cameras: tuple[str, ...]
    stages: Mapping[str, Avatar]


def evaluate_fit(
    subject: FittedSubject,
    truth_folder: Path,
    config: FitTruthConfig,
    progress: Progress | None = None,
    *,
    make_stage: StageMaker = light_stage,
) -> tuple[dict[str, Any], list[FitComparison]]:
    """Measure avatars of a subject of the light stage that was never trained on.

    Nothing true is given to an avatar but cameras and lamps, and, where there is only one photo, the one number
    that a photo cannot hold: the scale of head and distance together (``rig.Gauge``).

    Args:
        subject: the photos' origin and the avatars.
        truth_folder: keeps the renderings for the next time.
        config: how many pictures.
        progress: called with (pictures done, pictures in all).
        make_stage: how the truth is rendered.

    Returns:
        The content of fit.json, ``{stage: {"input_mae255": …, "novel_view": {"psnr", "ssim", "mae255",
        "mean_image": {…}}, "relight": …, "expression": …}}``, and every picture.

    Raises:
        VrmmError: the capture was not made by the light stage, or a frame without known pose or expression.
    """
    shots, truths = render_fit_truth(subject, truth_folder, config, progress, make_stage=make_stage)
    answerer = Answerer(subject.run)
    mean_images = MeanImages(subject.run, answerer)
    places = {name: _placed(avatar, subject) for name, avatar in subject.stages.items()}
    comparisons = [
        _compare(shot, truth, places, answerer, mean_images) for shot, truth in zip(shots, truths, strict=True)
    ]
    return _summary(subject, comparisons, places), comparisons


def render_fit_truth(
    subject: FittedSubject,
    truth_folder: Path,
    config: FitTruthConfig,
    progress: Progress | None = None,
    *,
    make_stage: StageMaker = light_stage,
) -> tuple[list[FitShot], list[RenderedImage]]:
    """What ``evaluate_fit``, of the same arguments, compares with; rendered unless ``truth_folder`` has it."""
    info = subject.run.shards.info
    shots = plan_fit_shots(subject, make_stage(info), config)
    store = TruthStore(truth_folder, info, make_stage, samples=config.samples, processes=config.processes)
    return shots, store.get([shot.truth for shot in shots], progress)


def write_fit_report(path: Path, result: dict[str, Any]) -> None:
    """Write fit.json, whole or not at all."""
    atomic_write_json(path, result)


def plan_fit_shots(subject: FittedSubject, stage: TruthStage, config: FitTruthConfig) -> list[FitShot]:
    """The photos themselves, new views, new lights, and training subjects' strongest expressions.

    New views are of cameras that take no photos of anyone, where there are any, so that avatars from one photo and
    from several are compared on the same pictures.
    """
    run, frame = subject.run, subject.frame
    if frame.pose is None or frame.expression is None:
        raise VrmmError(f"frame {frame.key} has no known pose or expression; only synthetic captures can be evaluated")
    rig = run.cameras("train") + run.cameras("held_out")
    taken = [camera for camera in rig if camera.name in subject.cameras]
    others = [camera for camera in rig if camera.name not in subject.cameras]
    others = [camera for camera in others if camera.name not in run.input_cameras] or others
    shots = [_shot(Category.INPUT, frame, camera) for camera in taken]
    shots += [_shot(Category.NOVEL_VIEW, frame, camera) for camera in others]
    pair = (taken[0], others[0] if others else taken[-1])
    for pattern in [*stage.held_out_lights(config.lights), *stage.held_out_lamps()[: config.lights]]:
        shots += [_shot(Category.RELIGHT, frame, camera, light=pattern.light) for camera in pair]
    names = environment_names()
    for number in range(config.environments):
        place = stage.exposed(make_environment(names[number % len(names)], seed=number // len(names)))
        shots += [_shot(Category.RELIGHT, frame, camera, light=place.to_light(), place=place) for camera in pair]
    for number, source in enumerate(_strongest(run, config.expressions)):
        shots.append(_shot(Category.EXPRESSION, frame, pair[number % 2], source=source))
    return shots


def _shot(
    category: Category,
    frame: Frame,
    camera: Camera,
    *,
    light: Light | None = None,
    place: EnvironmentMap | None = None,
    source: Frame | None = None,
) -> FitShot:
    expression = (source or frame).expression
    assert frame.pose is not None
    assert expression is not None
    truth = TruthRequest(
        subject=frame.subject,
        expression=expression,
        light=place or light or frame.light,
        camera=camera,
        pose=frame.pose,
    )
    return FitShot(category=category, camera=camera, light=light, source=source, truth=truth)


def _strongest(run: TrainedRun, count: int) -> list[Frame]:
    """Training frames with the strongest expressions, subject after subject."""
    ranked = [
        sorted(run.training_frames(subject), key=lambda frame: -float(np.linalg.norm(frame.expression or ())))
        for subject in run.subjects
    ]
    step = max(1, len(ranked) // max(count, 1))
    chosen = [ranked[(number * step) % len(ranked)] for number in range(count)]
    return [frames[(number * step // len(ranked)) % len(frames)] for number, frames in enumerate(chosen)]


class MeanImages:
    """The mean over all training subjects' captured frames in a camera, or in the nearest training camera. Final."""

    def __init__(self, run: TrainedRun, answerer: Answerer) -> None:
        self._run, self._answerer = run, answerer
        self._held: dict[str, Tensor] = {}

    def get(self, camera: Camera) -> Float[Tensor, "3 H W"]:
        """Linear radiance."""
        name = self._run.nearest_training_camera(camera)
        if name not in self._held:
            subjects = self._run.subjects
            images = [self._answerer.mean_image(subject, name) for subject in subjects]
            self._held[name] = torch.stack(images).mean(dim=0)
        return self._held[name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Placed:
    """An avatar in the rig."""

    avatar: Avatar
    pose: Pose
    gauge: Gauge


def _placed(avatar: Avatar, subject: FittedSubject) -> _Placed:
    cameras = [subject.run.shards.info.camera(name) for name in subject.cameras]
    pose = pose_in_rig(avatar, cameras)
    assert subject.frame.pose is not None
    return _Placed(avatar=avatar, pose=pose, gauge=Gauge.of_fit(pose, subject.frame.pose, cameras))


def _compare(
    shot: FitShot,
    truth: RenderedImage,
    places: "Mapping[str, _Placed]",
    answerer: Answerer,
    mean_images: MeanImages,
) -> FitComparison:
    code = None if shot.source is None else answerer.encode(shot.source.key).mean[0]
    image, mask = torch.as_tensor(truth.image), torch.as_tensor(truth.mask)
    answers, metrics = {}, {}
    for name, placed in places.items():
        found = placed.avatar.render(code, shot.light, placed.gauge.camera(shot.camera), placed.pose)
        answers[name] = found.image
        metrics[name] = {**image_metrics(found.image, image, mask), "mask_iou": mask_iou(found.alpha, mask)}
    answers["mean_image"] = mean_images.get(shot.camera)
    metrics["mean_image"] = image_metrics(answers["mean_image"], image, mask)
    return FitComparison(shot=shot, truth=image, mask=mask, answers=answers, metrics=metrics)


def _summary(
    subject: FittedSubject, comparisons: Sequence[FitComparison], places: "Mapping[str, _Placed]"
) -> dict[str, Any]:
    """The content of fit.json."""
    result: dict[str, Any] = {"subject": subject.frame.subject, "photos": list(subject.cameras)}
    for stage in subject.stages:
        entry: dict[str, Any] = {"scale": places[stage].gauge.scale}
        for category in Category:
            rows = [row.metrics for row in comparisons if row.shot.category is category]
            if rows:
                mean_image = mean_metrics([row["mean_image"] for row in rows])
                entry[category.value] = {
                    **mean_metrics([row[stage] for row in rows]),
                    "images": len(rows),
                    "mean_image": mean_image,
                }
        entry["input_mae255"] = entry[Category.INPUT.value]["mae255"]
        result[stage] = entry
    return result
