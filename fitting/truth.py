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
from fitting.avatar import Avatar, AvatarImage
from fitting.rig import Gauge, pose_in_rig
from prior.evaluate import light_stage
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun
from prior.evaluation.truth import StageMaker, TruthRequest, TruthStage, TruthStore
from prior.lpips import LPIPS
from prior.metrics import image_metrics, mask_iou, mean_metrics

Progress = Callable[[int, int], object]
MEAN_IMAGE = "mean_image"


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
        lights, lamps, environments: held-out groups of lamps, held-out single lamps, and environment maps, each
            through two cameras.
        expressions: frames of training subjects, their strongest.
        samples: paths per pixel of the truth; 0 takes what the light stage finds clean.
    """

    lights: int = 2
    lamps: int = 2
    environments: int = 2
    expressions: int = 8
    samples: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise VrmmError(f"{field.name}={getattr(self, field.name)} must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A person of the light stage at an instant.

    Attributes:
        subject: name.
        expression: the head model's control values.
        pose: of the head.
        light: lamps or a place.
    """

    subject: str
    expression: tuple[float, ...]
    pose: Pose
    light: Light | EnvironmentMap

    @staticmethod
    def of_frame(frame: Frame) -> "Moment":
        """Raises VrmmError for a frame without known pose or expression."""
        if frame.pose is None or frame.expression is None:
            raise VrmmError(
                f"frame {frame.key} has no known pose or expression; only synthetic captures can be evaluated"
            )
        return Moment(subject=frame.subject, expression=frame.expression, pose=frame.pose, light=frame.light)

    def seen(self, camera: Camera) -> TruthRequest:
        """The picture that a camera takes."""
        return TruthRequest(
            subject=self.subject, expression=self.expression, light=self.light, camera=camera, pose=self.pose
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gesture:
    """An expression in both languages.

    Attributes:
        code: the prior's z_e for it.
        controls: values of the head model whose truth wears it.
    """

    code: Float[Tensor, "E"]
    controls: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewLight:
    """Light that no photo shows; ``place`` is the environment map that ``light`` stands for, if it is one."""

    name: str
    light: Light
    place: EnvironmentMap | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitShot:
    """One picture to compare.

    Attributes:
        category: what is new in it.
        camera: of the rig.
        light: new lamps in the world, or None for those of the photos.
        light_name: of the new lamps or place; empty for the light of the photos.
        code: of the expression that is worn, or None for that of the photos.
        truth: what the light stage renders for it.
    """

    category: Category
    camera: Camera
    light: Light | None = None
    light_name: str = ""
    code: Float[Tensor, "E"] | None = None
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
    processes: int = 2,
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
        processes: that render truth; 0 renders in this one.
        make_stage: how the truth is rendered.

    Returns:
        The content of fit.json, ``{stage: {"input_mae255": …, "novel_view": {"psnr", "ssim", "mae255",
        "mean_image": {…}}, "relight": …, "expression": …}}``, and every picture.

    Raises:
        VrmmError: the capture was not made by the light stage, or a frame without known pose or expression.
    """
    [(shots, truths)] = render_fit_truth(
        [subject], truth_folder, config, progress, processes=processes, make_stage=make_stage
    )
    info, moment, answerer = subject.run.shards.info, Moment.of_frame(subject.frame), Answerer(subject.run)
    mean_images = MeanImages(subject.run, answerer)
    cameras = [info.camera(name) for name in subject.cameras]
    places = {name: Placed.of(avatar, cameras, moment.pose) for name, avatar in subject.stages.items()}
    comparisons = [
        compare(shot, truth, places, mean_images.get(shot.camera)) for shot, truth in zip(shots, truths, strict=True)
    ]
    return _summary(subject, comparisons, places), comparisons


def render_fit_truth(
    subjects: Sequence[FittedSubject],
    truth_folder: Path,
    config: FitTruthConfig,
    progress: Progress | None = None,
    *,
    processes: int = 2,
    make_stage: StageMaker = light_stage,
) -> list[tuple[list[FitShot], list[RenderedImage]]]:
    """What ``evaluate_fit`` compares each subject of one run with; rendered unless ``truth_folder`` has it."""
    run = subjects[0].run
    info, answerer = run.shards.info, Answerer(run)
    stage = make_stage(info)
    shots = [plan_fit_shots(subject, stage, config, answerer) for subject in subjects]
    store = TruthStore(truth_folder, info, make_stage, samples=config.samples, processes=processes)
    truths = iter(store.get([shot.truth for each in shots for shot in each], progress))
    return [(each, [next(truths) for _ in each]) for each in shots]


def write_fit_report(path: Path, result: dict[str, Any]) -> None:
    """Write fit.json, whole or not at all."""
    atomic_write_json(path, result)


def plan_fit_shots(
    subject: FittedSubject, stage: TruthStage, config: FitTruthConfig, answerer: Answerer
) -> list[FitShot]:
    """The photos themselves, new views, new lights, and training subjects' strongest expressions.

    New views are of cameras that take no photos of anyone, where there are any, so that avatars from one photo and
    from several are compared on the same pictures.
    """
    run, moment = subject.run, Moment.of_frame(subject.frame)
    rig = run.cameras("train") + run.cameras("held_out")
    taken = [camera for camera in rig if camera.name in subject.cameras]
    others = [camera for camera in rig if camera.name not in subject.cameras]
    others = [camera for camera in others if camera.name not in run.input_cameras] or others
    shots = [FitShot(category=Category.INPUT, camera=camera, truth=moment.seen(camera)) for camera in taken]
    pair = (taken[0], others[0] if others else taken[-1])
    gestures = training_gestures(run, answerer, config.expressions)
    return shots + evaluation_shots(moment, others, pair, new_lights(stage, config), gestures)


def evaluation_shots(
    moment: Moment,
    views: Sequence[Camera],
    pair: tuple[Camera, Camera],
    lights: Sequence[NewLight],
    gestures: Sequence[Gesture],
) -> list[FitShot]:
    """What no photo shows: the moment from new views, in new light through both cameras of ``pair``, and with other
    expressions through one of them in turn."""
    shots = [FitShot(category=Category.NOVEL_VIEW, camera=camera, truth=moment.seen(camera)) for camera in views]
    for new in lights:
        lit = dataclasses.replace(moment, light=new.place or new.light)
        shots += [
            FitShot(
                category=Category.RELIGHT,
                camera=camera,
                light=new.light,
                light_name=new.name,
                truth=lit.seen(camera),
            )
            for camera in pair
        ]
    for number, gesture in enumerate(gestures):
        worn, camera = dataclasses.replace(moment, expression=gesture.controls), pair[number % 2]
        shots.append(FitShot(category=Category.EXPRESSION, camera=camera, code=gesture.code, truth=worn.seen(camera)))
    return shots


def new_lights(stage: TruthStage, config: FitTruthConfig) -> list[NewLight]:
    """Held-out groups of lamps, held-out lamps alone, and made-up places as bright as the capture's lamps."""
    patterns = [*stage.held_out_lights(config.lights), *stage.held_out_lamps()[: config.lamps]]
    lights, names = [NewLight(name=pattern.name, light=pattern.light) for pattern in patterns], environment_names()
    for number in range(config.environments):
        name, seed = names[number % len(names)], number // len(names)
        place = stage.exposed(make_environment(name, seed=seed))
        lights.append(NewLight(name=f"{name}_{seed}", light=place.to_light(), place=place))
    return lights


def training_gestures(run: TrainedRun, answerer: Answerer, count: int) -> list[Gesture]:
    """Training frames with the strongest expressions, subject after subject, as the run's encoders see them."""
    ranked = [
        sorted(run.training_frames(subject), key=lambda frame: -float(np.linalg.norm(frame.expression or ())))
        for subject in run.subjects
    ]
    step = max(1, len(ranked) // max(count, 1))
    gestures = []
    for number in range(count):
        frames = ranked[(number * step) % len(ranked)]
        frame = frames[(number * step // len(ranked)) % len(frames)]
        code = answerer.encode(frame.key).mean[0]
        gestures.append(Gesture(code=code, controls=Moment.of_frame(frame).expression))
    return gestures


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
class Placed:
    """An avatar in the world of the truth."""

    avatar: Avatar
    pose: Pose
    gauge: Gauge

    @staticmethod
    def of(avatar: Avatar, cameras: list[Camera], true: Pose) -> "Placed":
        """The avatar where its photos show it.

        Args:
            avatar: fitted.
            cameras: that took its photos, or the first of them alone, as of ``rig.pose_in_rig``.
            true: the head's pose in the (first) photo.
        """
        pose = pose_in_rig(avatar, cameras)
        return Placed(avatar=avatar, pose=pose, gauge=Gauge.of_fit(pose, true, cameras))

    def answer(self, shot: FitShot) -> AvatarImage:
        """The avatar's picture of a shot."""
        avatar = self.avatar
        light = avatar.light_field(None, avatar.pose) if shot.light is None else shot.light  # of the (first) photo
        return avatar.render(shot.code, light, self.gauge.camera(shot.camera), self.pose)


def compare(
    shot: FitShot,
    truth: RenderedImage,
    places: Mapping[str, Placed],
    mean_image: Float[Tensor, "3 H W"] | None = None,
    lpips: LPIPS | None = None,
) -> FitComparison:
    """Every avatar's answer and, if it is given, the mean image, measured in the true mask."""
    image, mask = torch.as_tensor(truth.image), torch.as_tensor(truth.mask)
    answers, metrics = {}, {}
    for name, placed in places.items():
        found = placed.answer(shot)
        answers[name] = found.image
        metrics[name] = {**measured(found.image, image, mask, lpips), "mask_iou": mask_iou(found.alpha, mask)}
    if mean_image is not None:
        answers[MEAN_IMAGE] = mean_image
        metrics[MEAN_IMAGE] = measured(mean_image, image, mask, lpips)
    return FitComparison(shot=shot, truth=image, mask=mask, answers=answers, metrics=metrics)


def measured(
    image: Float[Tensor, "3 H W"], truth: Float[Tensor, "3 H W"], mask: Float[Tensor, "1 H W"], lpips: LPIPS | None
) -> dict[str, float]:
    """``image_metrics``, and LPIPS where there are weights of it."""
    found = image_metrics(image, truth, mask)
    return found if lpips is None else {**found, "lpips": lpips.inside(image, truth, mask)}


def _summary(
    subject: FittedSubject, comparisons: Sequence[FitComparison], places: Mapping[str, Placed]
) -> dict[str, Any]:
    """The content of fit.json."""
    result: dict[str, Any] = {"subject": subject.frame.subject, "photos": list(subject.cameras)}
    for stage in subject.stages:
        entry: dict[str, Any] = {"scale": places[stage].gauge.scale}
        for category in Category:
            rows = [row.metrics for row in comparisons if row.shot.category is category]
            if rows:
                entry[category.value] = {
                    **mean_metrics([row[stage] for row in rows]),
                    "images": len(rows),
                    MEAN_IMAGE: mean_metrics([row[MEAN_IMAGE] for row in rows]),
                }
        entry["input_mae255"] = entry[Category.INPUT.value]["mae255"]
        result[stage] = entry
    return result
