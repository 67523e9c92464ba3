"""The model's answer to a shot, and the answers of baselines that leave something out."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Light
from datasets.loader import read_frame
from datasets.views import ViewReader
from prior.cameras import CameraBatch
from prior.encoders import Encoding
from prior.evaluation.plan import Shot, mean_light
from prior.evaluation.run import TrainedRun
from prior.render import render_head


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """Pictures that answer one shot, linear radiance.

    Attributes:
        model: [3, H, W].
        alpha: [1, H, W] of the model.
        mean_light: the same model given the mean training light.
        mean_image: mean of the subject's captured training frames in the camera, or the nearest training camera.
        neutral: of an expression transfer, the same model given the subject's neutral expression.
        first: of an identity interpolation, the first of the two subjects alone.
    """

    model: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "1 H W"]
    mean_light: Float[Tensor, "3 H W"]
    mean_image: Float[Tensor, "3 H W"]
    neutral: Float[Tensor, "3 H W"] | None
    first: Float[Tensor, "3 H W"] | None = None

    def pictures(self) -> dict[str, Float[Tensor, "3 H W"]]:
        """Those that there are, by their names in evaluation.json."""
        every = {
            "model": self.model,
            "mean_light": self.mean_light,
            "mean_image": self.mean_image,
            "neutral": self.neutral,
            "first": self.first,
        }
        return {name: picture for name, picture in every.items() if picture is not None}


class Answerer:
    """Answers shots with a run's model. Final.

    Expression and head pose come from the encoders on the captured frame; nothing true is given to the model but
    cameras and lamps.
    """

    def __init__(self, run: TrainedRun) -> None:
        self._run = run
        self._mean_light = mean_light(run)
        self._encodings: dict[str, Encoding] = {}
        self._mean_images: dict[tuple[str, str], Tensor] = {}
        info = run.shards.info
        names = [camera.name for camera in info.cameras if camera.split == "train"]
        self._reader = ViewReader(run.shards, names, image_size=run.recipe.loader.image_size)

    def answer(self, shot: Shot) -> Answers:
        """All pictures of one shot."""
        with torch.no_grad():
            pose = self.encode(shot.frame.key)
            model, alpha = self._render(shot, pose.mean, pose, shot.light)
            mean, _ = self._render(shot, pose.mean, pose, self._mean_light)
            neutral = first = None
            if shot.neutral is not None:
                neutral, _ = self._render(shot, self.encode(shot.neutral.key).mean, pose, shot.light)
            if shot.other:
                first, _ = self._render(dataclasses.replace(shot, other=""), pose.mean, pose, shot.light)
            return Answers(
                model=model,
                alpha=alpha,
                mean_light=mean,
                mean_image=self.mean_image(shot.subject, self._run.nearest_training_camera(shot.camera)),
                neutral=neutral,
                first=first,
            )

    def encode(self, key: str) -> Encoding:
        """Expression and pose of a captured frame, from the encoders' views."""
        if key not in self._encodings:
            run = self._run
            size, inputs = run.recipe.loader.image_size, run.input_cameras
            batch = read_frame(run.shards, key, [], size, input_cameras=inputs)
            with torch.no_grad():
                self._encodings[key] = run.model.encode(batch.input_images, batch.input_masks)
        return self._encodings[key]

    def captured(self, key: str, camera: str) -> Float[Tensor, "3 H W"]:
        """A captured picture, linear radiance."""
        batch = self._reader.new_batch(1, inputs=0, targets=1)
        self._reader.fill(batch, 0, self._run.shards.sample(key), [], self._reader.camera_numbers([camera]))
        return batch.target_images[0, 0].clone()

    def mean_image(self, subject: str, camera: str) -> Float[Tensor, "3 H W"]:
        """Mean over the subject's captured training frames in a training camera."""
        if (subject, camera) not in self._mean_images:
            frames = self._run.training_frames(subject)
            total = sum(self.captured(frame.key, camera) for frame in frames)
            self._mean_images[subject, camera] = torch.as_tensor(total / len(frames))
        return self._mean_images[subject, camera]

    def _render(
        self, shot: Shot, code: Float[Tensor, "1 E"], pose: Encoding, light: Light
    ) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"]]:
        model = self._run.model
        people = [name for name in (shot.subject, shot.other) if name]
        numbers = torch.tensor([model.subjects.index(name) for name in people])
        radiance = light_field(self._run, light, pose.rotation)
        cameras = CameraBatch.stack([shot.camera])
        identity = model.identity_code(numbers).mean(dim=0, keepdim=True)  # of two: half-way
        picture = render_head(
            model, identity, code, radiance, pose.rotation, pose.translation, cameras, self._run.rendering
        )
        return picture.image[0, 0], picture.alpha[0, 0]


def light_field(run: TrainedRun, light: Light, rotation: Float[Tensor, "1 3 3"]) -> Float[Tensor, "1 N 3"]:
    """Lamps in the world as the model's light field in the head frame."""
    directions = torch.tensor(light.directions, dtype=torch.float32)[None]
    irradiance = torch.tensor(np.asarray(light.irradiance), dtype=torch.float32)[None]
    return run.model.light_sphere.radiance(directions, irradiance, rotation)
