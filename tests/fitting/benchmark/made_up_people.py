"""People of the small model, photographed by itself: whatever the benchmark mixes up shows as an error."""

import functools
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, CaptureInfo, Frame, Light, Pose
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.expressions import rotation_matrix
from datasets.lightstage.head import Subject
from datasets.lightstage.patterns import Pattern
from datasets.lightstage.render import RenderedImage
from datasets.lightstage.rig import RigConfig
from datasets.lightstage.stage import LightStage, StageConfig
from fitting.benchmark.people import HeadModel, Someone
from fitting.benchmark.recipe import MOST_CHECKED, MOST_PEOPLE, BenchmarkConfig
from fitting.fit import Prior
from fitting.initializer.network import AnswerSizes, InitializerNetwork
from fitting.initializer.recipe import NetworkConfig
from fitting.initializer.storage import save_initializer
from fitting.objective import CarriedLandmarks
from fitting.recipe import FinetuneConfig, FitRecipe, InversionConfig, LocalityConfig, VideoConfig
from fitting.truth import FitTruthConfig, Gesture
from prior.cameras import CameraBatch
from prior.render import render_head
from prior.vrmm import VRMM
from prior.weights import save_weights
from tests.fitting.tiny import CONFIG, RENDERING, tiny_model

SIZE = 40
EXPOSURE = 0.05
"""Of places, with which heads of the small model are neither black nor burnt out."""
RIG = RigConfig(image_size=SIZE, field_of_view_degrees=18.0, train_cameras=3, held_out_cameras=0, lamps=8)


def config(**changes) -> BenchmarkConfig:
    """Seconds for everything."""
    fit = FitRecipe(
        threads=1,
        image_size=SIZE,
        inversion=InversionConfig(steps=3, informed_steps=3, starts=1),
        finetune=FinetuneConfig(steps=2, locality=LocalityConfig(image_size=24)),
        video=VideoConfig(steps=2, visits=1),
    )
    truth = FitTruthConfig(lights=0, lamps=1, environments=1, expressions=2)
    values = {"people": 1, "frames": 3, "checked": 2, "compared": 1, "noise": 0.1, "fit": fit, "truth": truth}
    return BenchmarkConfig(**(values | changes))


def info(seed: int, people: int = MOST_PEOPLE) -> CaptureInfo:
    return LightStage(
        StageConfig(
            seed=seed, train_subjects=1, held_out_subjects=people, frames=1, held_out_frames=0, rig=RIG, name="small"
        )
    ).info


@functools.cache
def head(name: str = "procedural") -> HeadModel:
    """Two gestures, whose controls are their codes."""
    codes = torch.rand(2, CONFIG.expression, generator=torch.Generator().manual_seed(3))
    gestures = tuple(Gesture(code=code, controls=tuple(code.double().tolist())) for code in codes)
    return HeadModel(name=name, people=info(1), checked=info(2, MOST_CHECKED), rig=RIG, gestures=gestures)


def make_prior(folder: Path) -> Path:
    """A run folder with an initializer that was never trained."""
    save_weights(tiny_model(), RENDERING, folder)
    torch.manual_seed(0)
    sizes = AnswerSizes(subjects=5, expression=CONFIG.expression, directions=CONFIG.light_directions)
    network = InitializerNetwork(NetworkConfig(size=32, channels=[4, 4, 4, 4], features=4), sizes)
    save_initializer(folder, network, Prior.load(folder).sha256, {})
    return folder


class MadeUpStage:
    """Renders people of the small model: controls of an expression, from 0 to 1, are its code."""

    def __init__(self, info: CaptureInfo, model: VRMM | None = None) -> None:
        self._info, self.model = info, model or tiny_model().requires_grad_(False)

    @property
    def subjects(self) -> Sequence[Subject]:
        names = self._info.subjects
        return [
            Subject(name=name, identity=np.zeros(2), appearance_seed=0, tone=index / len(names))
            for index, name in enumerate(names)
        ]

    def frames(self, subject: str) -> Sequence[Frame]:
        random = np.random.default_rng(zlib.crc32(subject.encode()))
        return [
            Frame(
                subject=subject,
                sequence="play",
                index=index,
                split="held_out",
                light=Light(positions=np.eye(3), irradiance=np.ones((3, 3))),
                light_pattern="some",
                full_on=False,
                nearest_full_on=None,
                pose=Pose(
                    rotation=rotation_matrix(0.1 * random.standard_normal(3)),
                    translation=0.005 * random.standard_normal(3),
                ),
                expression=tuple(random.uniform(0.0, 0.7, CONFIG.expression)),
            )
            for index in range(12)
        ]

    def identity(self, subject: str) -> Float[Tensor, "1 I"]:
        """Of somebody who is none of the training identities."""
        weights = np.random.default_rng(zlib.crc32(subject.encode())).dirichlet(np.ones(5))
        return torch.tensor(weights, dtype=torch.float32)[None] @ self.model.identity_codes.weight.detach()

    def landmarks(self, subject: str, expression: np.ndarray) -> Float[np.ndarray, "68 3"]:
        code = torch.tensor(np.asarray(expression), dtype=torch.float32)[None]
        vertices = self.model.mesh_decoder(self.identity(subject), code)
        return CarriedLandmarks(self.model)(vertices)[0].detach().double().numpy()

    def held_out_lights(self, count: int) -> Sequence[Pattern]:
        random = np.random.default_rng(5)
        return [
            Pattern(name=f"group {index}", light=_lamps(random.standard_normal((2, 3)) + (0, 0, 1)))
            for index in range(count)
        ]

    def held_out_lamps(self) -> Sequence[Pattern]:
        return [Pattern(name="lamp_07", light=_lamps(np.array([[0.5, 0.5, 1.0]])))]

    def exposed(self, environment: EnvironmentMap) -> EnvironmentMap:
        return environment.scaled(EXPOSURE)

    def movement(self, expression: np.ndarray) -> float:
        return float(np.linalg.norm(expression))

    def surface(self, subject: str, expression: np.ndarray) -> Float[np.ndarray, "V 3"]:
        code = torch.tensor(np.asarray(expression), dtype=torch.float32)[None]
        return self.model.mesh_decoder(self.identity(subject), code)[0].detach().double().numpy()

    def light(self, light: Light | EnvironmentMap, pose: Pose) -> Float[Tensor, "L 3"]:
        """In the head frame, as the model takes it."""
        lamps = light if isinstance(light, Light) else light.to_light()
        directions, irradiance, rotation = (
            torch.tensor(np.asarray(value), dtype=torch.float32)[None]
            for value in (lamps.directions, lamps.irradiance, pose.rotation)
        )
        return self.model.light_sphere.radiance(directions, irradiance, rotation)[0]

    @torch.no_grad()
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
        picture = render_head(
            self.model,
            self.identity(subject),
            torch.tensor(np.asarray(expression), dtype=torch.float32)[None],
            self.light(light, pose)[None],
            torch.tensor(pose.rotation, dtype=torch.float32)[None],
            torch.tensor(pose.translation, dtype=torch.float32)[None],
            CameraBatch.stack([camera]),
            RENDERING,
        )
        alpha = picture.alpha[0, 0].clamp(0.0, 1.0).numpy()
        return RenderedImage(image=picture.image[0, 0].clamp(min=0.0).numpy(), mask=alpha)


def someone() -> Someone:
    return Someone(number=0, head=head(), subject="q01")


def _lamps(toward: np.ndarray) -> Light:
    return Light(positions=1.5 * toward, irradiance=np.full((len(toward), 3), 4.0 * np.pi * EXPOSURE / len(toward)))
