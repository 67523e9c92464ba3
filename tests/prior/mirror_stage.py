"""A run whose truth is rendered by its own model: whatever an evaluation mixes up shows as an error."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.capture import Camera, CaptureInfo, Frame, Light, Pose
from datasets.config import to_yaml
from datasets.files import atomic_write_bytes
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.head import Subject
from datasets.lightstage.patterns import Pattern
from datasets.lightstage.render import RenderedImage
from datasets.loader import LoaderConfig, read_frame
from datasets.shards import build_shards, open_shards
from prior.cameras import CameraBatch
from prior.encoders import Encoding
from prior.recipe import TrainRecipe
from prior.render import RenderConfig, render_head
from prior.weights import load_weights, save_weights
from tests.datasets.tiny_capture import TinyCapture
from tests.prior.small_model import SMALL, small_model

SIZE = 24


class StageCapture(TinyCapture):
    """A tiny capture that says that a light stage made it."""

    @property
    def info(self) -> CaptureInfo:
        return dataclasses.replace(super().info, synthetic={"made": "by a mirror"})


def make_run(folder: Path, *, subjects: int = 3, frames: int = 6, size: int = SIZE) -> Path:
    """A run folder with shards and a random model; returns the run's folder. The last subject is held out."""
    shards, run = folder / "shards", folder / "run"
    capture = StageCapture(subjects=subjects + 1, frames=frames, size=(size, size))
    build_shards(capture, shards)
    rendering = RenderConfig(step=0.02, backend="reference")
    recipe = TrainRecipe(model=SMALL, loader=LoaderConfig(shards=str(shards)), render=rendering)
    model = small_model(subjects=subjects)
    with torch.no_grad():  # codes and poses that differ from frame to frame
        model.expression_encoder.head.weight.mul_(20.0)
        model.transform_encoder.head.weight.mul_(5.0)
    save_weights(model, rendering, run, step=7, shards=str(shards))
    atomic_write_bytes(run / "recipe.yaml", to_yaml(recipe).encode())
    return run


class MirrorStage:
    """Renders truth with the run's model: expression and pose are those that it sees in the frame asked for.

    A frame is recognised by its true expression, and its true pose must come with it.
    """

    def __init__(self, run: Path) -> None:
        self.model, self.rendering, description = load_weights(run)
        self.shards = open_shards(description["shards"])
        self.frames = [self.shards.frame(sample) for sample in range(len(self.shards))]
        self.requests: list[tuple[str, str, object]] = []

    @property
    def subjects(self) -> Sequence[Subject]:
        names = self.shards.info.subjects
        return [
            Subject(name=name, identity=np.zeros(2), appearance_seed=0, tone=index / len(names))
            for index, name in enumerate(names)
        ]

    def held_out_lights(self, count: int) -> Sequence[Pattern]:
        random = np.random.default_rng(5)
        lights = [
            Light(positions=random.normal(size=(2, 3)), irradiance=random.uniform(1, 2, (2, 3))) for _ in range(count)
        ]
        return [Pattern(name=f"new {index}", light=light) for index, light in enumerate(lights)]

    def held_out_lamps(self) -> Sequence[Pattern]:
        return [Pattern(name="lamp_07", light=Light(positions=np.eye(3)[:1], irradiance=np.ones((1, 3))))]

    def exposed(self, environment: EnvironmentMap) -> EnvironmentMap:
        return environment.scaled(0.1)

    def movement(self, expression: np.ndarray) -> float:
        return float(np.linalg.norm(expression))

    def surface(self, subject: str, expression: np.ndarray) -> np.ndarray:
        """Where the model's own primitives are."""
        with torch.no_grad():
            geometry = self.model.decode_geometry(self._code(subject), self._seen(self._frame(expression)).mean)
        return geometry.placement.center[0].double().numpy()

    def truth_image(
        self,
        subject: str,
        expression: np.ndarray,
        light: Light | EnvironmentMap,
        camera: Camera,
        pose: Pose,
        samples: int,
        other: str = "",
    ) -> RenderedImage:
        frame = self._frame(expression)
        assert frame.pose is not None
        assert np.allclose(frame.pose.translation, pose.translation)
        self.requests.append((subject, frame.key, light))
        lamps = light if isinstance(light, Light) else light.to_light()
        with torch.no_grad():
            seen = self._seen(frame)
            field = self.model.light_sphere.radiance(
                torch.tensor(lamps.directions, dtype=torch.float32)[None],
                torch.tensor(lamps.irradiance, dtype=torch.float32)[None],
                seen.rotation,
            )
            picture = render_head(
                self.model,
                torch.lerp(self._code(subject), self._code(other or subject), 0.5),
                seen.mean,
                field,
                seen.rotation,
                seen.translation,
                CameraBatch.stack([camera]),
                self.rendering,
            )
        return RenderedImage(image=picture.image[0, 0].numpy(), mask=picture.alpha[0, 0].numpy())

    def _frame(self, expression: np.ndarray) -> Frame:
        (frame,) = [frame for frame in self.frames if np.allclose(frame.expression or (), expression)]
        return frame

    def _seen(self, frame: Frame) -> Encoding:
        batch = read_frame(self.shards, frame.key, [])
        return self.model.encode(batch.input_images, batch.input_masks)

    def _code(self, subject: str) -> torch.Tensor:
        return self.model.identity_code(torch.tensor([self.model.subjects.index(subject)]))
