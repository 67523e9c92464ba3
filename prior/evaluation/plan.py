"""Which pictures an evaluation compares: chosen evenly over subjects, cameras and frames, always the same ones."""

import dataclasses
import enum
from collections.abc import Callable, Sequence

import numpy as np

from datasets.capture import Camera, Frame, Light
from datasets.errors import VrmmError
from datasets.lightstage.environment import EnvironmentMap, environment_names, make_environment
from datasets.lightstage.patterns import Pattern
from prior.evaluation.run import TrainedRun
from prior.evaluation.truth import TruthRequest, TruthStage

PATTERNS = 8
"""Held-out groups of lamps that are tried."""


class Category(enum.Enum):
    """What is new to the model in a picture; the values are the keys of evaluation.json."""

    TRAINING_VIEW = "training_view"
    HELD_OUT_CAMERA = "held_out_camera"
    HELD_OUT_LIGHT = "held_out_light"
    HELD_OUT_LAMP = "held_out_lamp"
    HELD_OUT_FRAME = "held_out_frame"
    ENVIRONMENT = "environment"
    EXPRESSION_TRANSFER = "expression_transfer"
    IDENTITY_INTERPOLATION = "identity_interpolation"


OTHER_HEADS = (Category.EXPRESSION_TRANSFER, Category.IDENTITY_INTERPOLATION)
"""Categories that show no captured subject as it was captured; means over subjects leave them out."""


@dataclasses.dataclass(kw_only=True)
class EvaluationConfig:
    """How many pictures of each category, and how clean their truth.

    Attributes:
        training_view, held_out_camera, held_out_light, held_out_lamp, held_out_frame, environment,
            expression_transfer, identity_interpolation: pictures.
        samples: paths per pixel of the truth; 0 takes what the light stage finds clean.
        pose_frames: frames per subject on which the head pose is checked.
        examples: pictures of a category on its sheet.
        probe_frames: training frames that linear probes of the codes are fitted to and scored on, at most.
        jitter_subjects: subjects whose sequence is watched for flickering primitives.
        lpips_weights: file or folder of ``prior.lpips``; empty leaves the column ``lpips`` out.
    """

    training_view: int = 20
    held_out_camera: int = 16
    held_out_light: int = 18
    held_out_lamp: int = 6
    held_out_frame: int = 16
    environment: int = 10
    expression_transfer: int = 16
    identity_interpolation: int = 12
    samples: int = 0
    pose_frames: int = 6
    examples: int = 12
    probe_frames: int = 1000
    jitter_subjects: int = 4
    lpips_weights: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name == "lpips_weights":
                continue
            if getattr(self, field.name) < (1 if field.name == "pose_frames" else 0):
                raise VrmmError(f"{field.name}={getattr(self, field.name)} is too small")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture to compare.

    Attributes:
        category: what is new in it.
        subject: whose identity is shown.
        frame: the captured frame from which the model takes expression and pose.
        camera: that it is seen through.
        light: the lamps that the model is given.
        light_name: for captions.
        neutral: of an expression transfer, the subject's own neutral frame.
        other: of an identity interpolation, the subject half-way to whom the picture is; else empty.
        truth: what the light stage renders for it.
    """

    category: Category
    subject: str
    frame: Frame
    camera: Camera
    light: Light
    light_name: str
    neutral: Frame | None = None
    other: str = ""
    truth: TruthRequest


def plan_shots(run: TrainedRun, stage: TruthStage, config: EvaluationConfig) -> list[Shot]:
    """All pictures of an evaluation, category by category. Categories that the capture has no data for are left out.

    Args:
        run: with frames whose true pose and expression are known.
        stage: that made the capture; its held-out light patterns are used.
        config: how many.

    Raises:
        VrmmError: frames without known pose or expression, which no truth can be rendered of.
    """
    planners: dict[Category, Callable[[int], list[Shot]]] = {
        Category.TRAINING_VIEW: lambda count: _captured(run, Category.TRAINING_VIEW, count, "train", False),
        Category.HELD_OUT_CAMERA: lambda count: _captured(run, Category.HELD_OUT_CAMERA, count, "held_out", False),
        Category.HELD_OUT_LIGHT: lambda count: _relit(
            run, Category.HELD_OUT_LIGHT, stage.held_out_lights(PATTERNS), count
        ),
        Category.HELD_OUT_LAMP: lambda count: _relit(run, Category.HELD_OUT_LAMP, stage.held_out_lamps(), count),
        Category.HELD_OUT_FRAME: lambda count: _captured(run, Category.HELD_OUT_FRAME, count, "train", True),
        Category.ENVIRONMENT: lambda count: _environments(run, stage, count),
        Category.EXPRESSION_TRANSFER: lambda count: _transfers(run, stage, count),
        Category.IDENTITY_INTERPOLATION: lambda count: _interpolations(run, stage, count),
    }
    return [shot for category, plan in planners.items() for shot in plan(getattr(config, category.value))]


def _captured(run: TrainedRun, category: Category, count: int, cameras: str, held_out: bool) -> list[Shot]:
    """Frames as they were captured, seen through training or held-out cameras."""
    choice = run.cameras(cameras)
    frames_of = run.held_out_frames if held_out else run.training_frames
    picks = _picks(run, count, frames_of) if choice else []
    return [
        _shot(category, frame, choice[number % len(choice)], frame.light, _light_name(frame))
        for number, frame in enumerate(picks)
    ]


def _relit(run: TrainedRun, category: Category, patterns: Sequence[Pattern], count: int) -> list[Shot]:
    """Captured expressions and poses under light patterns that were never used in training."""
    choice = run.cameras("train")
    picks = _picks(run, count if patterns else 0, run.training_frames, offset=0.37)
    used = [patterns[number % len(patterns)] for number in range(len(picks))]
    return [
        _shot(category, frame, choice[number % len(choice)], used[number].light, used[number].name)
        for number, frame in enumerate(picks)
    ]


def _environments(run: TrainedRun, stage: TruthStage, count: int) -> list[Shot]:
    """Made-up places, as bright as the capture's lamps."""
    choice, names = run.cameras("train"), environment_names()
    shots = []
    for number, frame in enumerate(_picks(run, count, run.training_frames, offset=0.71)):
        name = names[number % len(names)]
        place = stage.exposed(make_environment(name, seed=number // len(names)))
        camera = choice[number % len(choice)]
        shots.append(_shot(Category.ENVIRONMENT, frame, camera, place.to_light(), name, environment=place))
    return shots


def _transfers(run: TrainedRun, stage: TruthStage, count: int) -> list[Shot]:
    """The expressions of one subject that move its features most, on another subject with every lamp on."""
    choice = run.cameras("train")

    def strength(frame: Frame) -> float:
        return stage.movement(np.array(frame.expression or ()))

    shots = []
    for number, (source, target) in enumerate(_pairs(run.subjects, count)):
        strongest = sorted(run.training_frames(source), key=strength, reverse=True)
        frame = strongest[(number // len(run.subjects)) % len(strongest)]
        neutral = min(run.training_frames(target), key=strength)
        light, name = _all_lamps(run, source, frame)
        camera = choice[number % min(3, len(choice))]
        shot = _shot(Category.EXPRESSION_TRANSFER, frame, camera, light, name, subject=target)
        shots.append(dataclasses.replace(shot, neutral=neutral))
    return shots


def _interpolations(run: TrainedRun, stage: TruthStage, count: int) -> list[Shot]:
    """Heads half-way between two subjects, with the first one's most neutral expression and every lamp on."""
    choice, shots = run.cameras("train"), []
    for number, (first, second) in enumerate(_pairs(run.subjects, count)):
        frame = min(run.training_frames(first), key=lambda frame: stage.movement(np.array(frame.expression or ())))
        light, name = _all_lamps(run, first, frame)
        camera = choice[number % min(3, len(choice))]
        shot = _shot(Category.IDENTITY_INTERPOLATION, frame, camera, light, name)
        truth = dataclasses.replace(shot.truth, other=second)
        shots.append(dataclasses.replace(shot, other=second, truth=truth))
    return shots


def _pairs(subjects: Sequence[str], count: int) -> list[tuple[str, str]]:
    """``count`` pairs of two subjects, spread over all of them; none where there is only one."""
    pairs = []
    for number in range(count if len(subjects) > 1 else 0):
        index = number * len(subjects) // count if count < len(subjects) else number % len(subjects)
        partner = (index + 1 + number // len(subjects) * 3) % len(subjects)
        partner = partner if partner != index else (index + 1) % len(subjects)
        pairs.append((subjects[index], subjects[partner]))
    return pairs


def _all_lamps(run: TrainedRun, subject: str, frame: Frame) -> tuple[Light, str]:
    """The subject's full-on light, that of ``frame`` where there is none, and its name."""
    lit = next((other for other in run.training_frames(subject) if other.full_on), frame)
    return lit.light, _light_name(lit)


def _shot(
    category: Category,
    frame: Frame,
    camera: Camera,
    light: Light,
    light_name: str,
    *,
    subject: str = "",
    environment: EnvironmentMap | None = None,
) -> Shot:
    if frame.pose is None or frame.expression is None:
        raise VrmmError(f"frame {frame.key} has no known pose or expression; only synthetic captures can be evaluated")
    truth = TruthRequest(
        subject=subject or frame.subject,
        expression=frame.expression,
        light=environment or light,
        camera=camera,
        pose=frame.pose,
    )
    return Shot(
        category=category,
        subject=subject or frame.subject,
        frame=frame,
        camera=camera,
        light=light,
        light_name=light_name,
        truth=truth,
    )


def _picks(run: TrainedRun, count: int, frames_of: Callable[[str], list[Frame]], offset: float = 0.0) -> list[Frame]:
    """``count`` frames, subject after subject, running through each subject's frames evenly.

    ``offset`` in [0, 1) shifts the choice within each subject, so that categories do not share frames.
    """
    subjects = [subject for subject in run.subjects if frames_of(subject)]
    picks = []
    for number in range(count if subjects else 0):
        # With fewer pictures than subjects every few subjects one; with more, round after round.
        index = number * len(subjects) // count if count < len(subjects) else number % len(subjects)
        frames = frames_of(subjects[index])
        # The golden ratio spreads any number of picks evenly over a subject's frames.
        place = (offset + number * 0.6180339887) % 1.0
        picks.append(frames[int(place * len(frames))])
    return picks


def mean_light(run: TrainedRun) -> Light:
    """The mean over all training frames of the lamps that burn; a lamp that burns in several frames is one lamp."""
    positions: dict[bytes, np.ndarray] = {}
    irradiance: dict[bytes, np.ndarray] = {}
    frames = [frame for subject in run.subjects for frame in run.training_frames(subject)]
    for frame in frames:
        for position, power in zip(frame.light.positions, frame.light.irradiance, strict=True):
            lamp = position.round(6).tobytes()
            positions[lamp] = position
            irradiance[lamp] = irradiance.get(lamp, np.zeros(3)) + power / len(frames)
    return Light(
        positions=np.array(list(positions.values())).reshape(-1, 3),
        irradiance=np.array(list(irradiance.values())).reshape(-1, 3),
    )


def _light_name(frame: Frame) -> str:
    return "full on" if frame.full_on else frame.light_pattern
