"""What ``vrmm demo`` runs: its recipes and where everything goes."""

import dataclasses
from pathlib import Path
from typing import Any

from datasets.config import find_recipe, load_config, to_dict
from datasets.lightstage.heads import PROCEDURAL
from datasets.lightstage.stage import StageConfig
from fitting.recipe import FitRecipe
from prior.evaluation.plan import EvaluationConfig
from prior.recipe import TrainRecipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Everything the outcome of a demo depends on.

    Attributes:
        quick: the small size.
        stage: of the capture.
        prior: of the training; its shards are those of the demo's folder.
        fitting: of the fits.
        evaluation: how many pictures.
        video_seconds: of each video.
        video_size: pixels of a head in a video.
    """

    quick: bool
    stage: StageConfig
    prior: TrainRecipe
    fitting: FitRecipe
    evaluation: EvaluationConfig
    video_seconds: float
    video_size: int

    @staticmethod
    def load(*, quick: bool, head_model: str | None) -> "DemoSettings":
        """The shipped recipes of the demo, with another head model where one is given."""
        name = "quick" if quick else "demo"
        stage = load_config(StageConfig, recipe_path("data", name))
        prior = load_config(TrainRecipe, recipe_path("prior", name))
        if head_model is not None:
            stage = dataclasses.replace(stage, head_model=_absolute(head_model))
            prior = dataclasses.replace(prior, template=stage.head_model)
        return DemoSettings(
            quick=quick,
            stage=stage,
            prior=prior,
            fitting=load_config(FitRecipe, recipe_path("fitting", "default"), QUICK_FITTING if quick else DEMO_FITTING),
            evaluation=QUICK_EVALUATION if quick else DEMO_EVALUATION,
            video_seconds=VIDEO[quick][0],
            video_size=VIDEO[quick][1],
        )

    def to_json(self) -> dict[str, Any]:
        """For comparing with what a folder was started with."""
        return {
            "quick": self.quick,
            "head_model": self.stage.head_model,
            "data": to_dict(self.stage),
            "prior": to_dict(self.prior),
            "fitting": to_dict(self.fitting),
            "evaluation": dataclasses.asdict(self.evaluation),
        }


VIDEO = {True: (1.0, 128), False: (3.5, 224)}
"""Seconds and size of the videos, quick or not."""
DEMO_FITTING = ("finetune.steps=250", "finetune.enough=0", "threads=1")
"""A demo makes eight fine-tunings, two at a time; with the 500 steps of a single fit they would take as long as the
training. None comes to its end early: with and without locality regularisation are compared after as many steps."""
QUICK_FITTING = ("inversion.steps=24", "finetune.steps=24", "threads=1")

DEMO_EVALUATION = EvaluationConfig(
    training_view=16,
    held_out_camera=12,
    held_out_light=12,
    held_out_lamp=4,
    held_out_frame=12,
    environment=8,
    expression_transfer=12,
    identity_interpolation=8,
)
"""Rendering clean truth takes most of an evaluation's time; ``vrmm evaluate`` compares more pictures."""
QUICK_EVALUATION = EvaluationConfig(
    training_view=4,
    held_out_camera=4,
    held_out_light=4,
    held_out_lamp=2,
    held_out_frame=4,
    environment=3,
    expression_transfer=4,
    identity_interpolation=2,
    pose_frames=3,
    examples=4,
)


def recipe_path(kind: str, name: str) -> Path:
    """A shipped recipe, found from any working folder."""
    return find_recipe(f"configs/{kind}/{name}.yaml")


def _absolute(head_model: str) -> str:
    return head_model if head_model == PROCEDURAL else str(Path(head_model).expanduser().resolve())
