"""A trained run opened for evaluation: model, recipe, the shards it was trained on."""

import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.capture import Camera, Frame
from datasets.config import load_config
from datasets.errors import VrmmError
from datasets.shards import ShardSet, open_shards
from datasets.views import default_input_cameras, training_subjects
from prior.recipe import TrainRecipe
from prior.render import RenderConfig
from prior.vrmm import VRMM
from prior.weights import load_weights


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What an evaluation needs of a run.

    Attributes:
        folder: of the run.
        model: in evaluation mode, on the CPU.
        rendering: how it was rendered in training.
        recipe: resolved.
        shards: its training data.
        step: of the weights.
    """

    folder: Path
    model: VRMM
    rendering: RenderConfig
    recipe: TrainRecipe
    shards: ShardSet
    step: int

    @cached_property
    def input_cameras(self) -> tuple[str, ...]:
        """The encoders' views."""
        return tuple(self.recipe.loader.input_cameras) or default_input_cameras(self.shards.info)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Training subjects in the order of their numbers."""
        return training_subjects(self.shards.info)

    @cached_property
    def frames(self) -> dict[str, list[Frame]]:
        """Every training subject's frames in capture order, both splits."""
        frames: dict[str, list[Frame]] = {subject: [] for subject in self.subjects}
        for sample in range(len(self.shards)):
            subject = self.shards.info.subjects[self.shards.subject[sample]]
            if subject in frames:
                frames[subject].append(self.shards.frame(sample))
        return frames

    def training_frames(self, subject: str) -> list[Frame]:
        return [frame for frame in self.frames[subject] if frame.split == "train"]

    def held_out_frames(self, subject: str) -> list[Frame]:
        return [frame for frame in self.frames[subject] if frame.split != "train"]

    def cameras(self, split: str) -> list[Camera]:
        """Cameras of a split at the size of the training images."""
        size = self.recipe.loader.image_size
        cameras = [camera for camera in self.shards.info.cameras if camera.split == split]
        return [_at_size(camera, size) for camera in cameras]

    def nearest_training_camera(self, camera: Camera) -> str:
        """Name of the training camera whose direction from the origin is nearest; the camera's own if it is one."""
        candidates = self.cameras("train")
        centers = np.array([other.center / np.linalg.norm(other.center) for other in candidates])
        return candidates[int(np.argmax(centers @ camera.center))].name


def load_run(folder: Path, shards: Path | None = None) -> TrainedRun:
    """Open a run folder written by the trainer.

    Args:
        folder: of the run.
        shards: where its training data lie now; None takes the place that the run remembers.

    Raises:
        VrmmError: no run folder, no shards, or shards of other subjects than the model's.
    """
    folder = Path(folder)
    model, rendering, description = load_weights(folder)
    if not (folder / "recipe.yaml").is_file():
        raise VrmmError(f"{folder} is not a run folder of vrmm train: there is no recipe.yaml in it")
    recipe = load_config(TrainRecipe, folder / "recipe.yaml")
    data = open_shards(shards or description["shards"])
    if training_subjects(data.info) != model.subjects:
        raise VrmmError(
            f"{data.folder} holds other subjects than {folder} was trained on; name its own shards with --shards"
        )
    return TrainedRun(folder, model, rendering, recipe, data, int(description.get("step", 0)))


def _at_size(camera: Camera, size: int) -> Camera:
    if not size:
        return camera
    scale = size / max(camera.width, camera.height)
    return camera.resized(max(round(camera.width * scale), 1), max(round(camera.height * scale), 1))
