"""Who is fitted: people that no prior has seen, of several skin tones, of one head model or more."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float

from datasets.capture import CaptureInfo, Frame
from datasets.config import from_dict
from datasets.errors import VrmmError
from datasets.lightstage.expressions import same_controls
from datasets.lightstage.heads import PROCEDURAL, expression_names
from datasets.lightstage.rig import RigConfig
from datasets.lightstage.stage import LightStage, StageConfig
from fitting.benchmark.recipe import MOST_CHECKED, MOST_PEOPLE, BenchmarkConfig
from fitting.truth import Gesture, training_gestures
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun
from prior.evaluation.truth import TruthStage

ICT = "ict"
FRAMES = 20
"""Expressions of each person."""
_OTHER_SEED = 104_729
"""Added to the seed of the prior's capture: its people are others."""
_ORDER = (2, 5, 7, 0, 3, 6, 1, 4)
"""People by their number, which grows with the skin tone: any few of them differ much."""
_STRIDE = 37
"""From one checked person to the next; it has no factor in common with ``MOST_CHECKED``."""


@runtime_checkable
class BenchmarkStage(TruthStage, Protocol):
    """A light stage whose people can be photographed; ``LightStage`` is one."""

    def frames(self, subject: str) -> Sequence[Frame]:
        """Expressions and poses of a person, from one strong expression to the next, at rest first."""
        ...

    def landmarks(self, subject: str, expression: Float[np.ndarray, "E"]) -> Float[np.ndarray, "68 3"]:
        """True landmarks, head frame, metres."""
        ...


MakeStage = Callable[[CaptureInfo], BenchmarkStage]


def light_stage(info: CaptureInfo) -> BenchmarkStage:
    """The stage that a description of it stands for."""
    return cast(BenchmarkStage, LightStage.from_info(info))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadModel:
    """A head model with its people.

    Attributes:
        name: ``"procedural"`` or ``"ict"``.
        people: the stage of those whose photo sets are fitted.
        checked: the stage of those whose single photos the initializer is tried on.
        rig: distance and lens of the cameras.
        gestures: expressions that people are to wear.
    """

    name: str
    people: CaptureInfo
    checked: CaptureInfo
    rig: RigConfig
    gestures: tuple[Gesture, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Someone:
    """A person.

    Attributes:
        number: in the benchmark.
        head: whose stage has them.
        subject: their name there.
    """

    number: int
    head: HeadModel
    subject: str

    @property
    def name(self) -> str:
        """Unique in the benchmark."""
        return f"{self.head.name}_{self.subject}"


def head_models(run: TrainedRun, specs: Sequence[str], config: BenchmarkConfig) -> list[HeadModel]:
    """The head models with people of their own, in the light stage and with the gestures of the prior's capture.

    Args:
        run: the prior.
        specs: of head models, as of ``load_head_model``.
        config: of the benchmark.

    Raises:
        VrmmError: the prior was trained on a real capture, or a head model cannot be read.
    """
    info = run.shards.info
    if info.synthetic is None:
        raise VrmmError(
            f"{run.shards.folder} is no capture of the light stage, so its expressions cannot be given to rendered "
            "people; fits can only be evaluated with a prior of a synthetic capture"
        )
    base = from_dict(StageConfig, info.synthetic, f"capture {info.name}")
    names = {spec: expression_names(spec) for spec in dict.fromkeys([base.head_model, *specs])}
    gestures = training_gestures(run, Answerer(run), config.truth.expressions)
    heads = []
    for spec in specs:
        own = [
            dataclasses.replace(gesture, controls=same_controls(gesture.controls, names[base.head_model], names[spec]))
            for gesture in gestures
        ]
        people = stage_config(base, spec, config, checked=False)
        heads.append(
            HeadModel(
                name=PROCEDURAL if spec == PROCEDURAL else ICT,
                people=LightStage(people).info,
                checked=LightStage(stage_config(base, spec, config, checked=True)).info,
                rig=people.rig,
                gestures=tuple(own),
            )
        )
    return heads


def stage_config(base: StageConfig, spec: str, config: BenchmarkConfig, *, checked: bool) -> StageConfig:
    """The prior's light stage with other people, each of whose frames is another strong expression."""
    return dataclasses.replace(
        base,
        name="fit_benchmark",
        head_model=spec,
        seed=base.seed + _OTHER_SEED * (1 + checked) + config.seed,
        train_subjects=1,
        held_out_subjects=MOST_CHECKED if checked else MOST_PEOPLE,
        frames=1,
        held_out_frames=0,
        held_out_subject_frames=FRAMES,
        rig=dataclasses.replace(base.rig, image_size=config.fit.image_size),
        performance=dataclasses.replace(base.performance, frames_per_gesture=1),
    )


def chosen_people(heads: Sequence[HeadModel], count: int) -> list[Someone]:
    """The first ``count`` people, of each head model in turn; more of them begin with the same.

    Raises:
        VrmmError: there are not so many.
    """
    _check(count, MOST_PEOPLE * len(heads), "people")
    people = []
    for number in range(count):
        row, kind = divmod(number, len(heads))
        names = _held_out(heads[kind].people)
        people.append(Someone(number=number, head=heads[kind], subject=names[_ORDER[(row + kind) % MOST_PEOPLE]]))
    return people


def checked_people(heads: Sequence[HeadModel], count: int) -> list[Someone]:
    """As ``chosen_people`` for the single photos."""
    _check(count, MOST_CHECKED * len(heads), "checked")
    people = []
    for number in range(count):
        row, kind = divmod(number, len(heads))
        names = _held_out(heads[kind].checked)
        people.append(Someone(number=number, head=heads[kind], subject=names[row * _STRIDE % MOST_CHECKED]))
    return people


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise VrmmError(f"{what}={count} is more than the {most} that there are; give a smaller number")


def _held_out(info: CaptureInfo) -> list[str]:
    return [name for name in info.subjects if info.subject_splits[name] != "train"]
