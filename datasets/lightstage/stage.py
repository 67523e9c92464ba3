"""The synthetic light stage: people, rig, light patterns and ground truth, all a pure function of a config."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, CaptureInfo, Frame, ImageEncoding, Light, Pose, frame_key
from datasets.config import from_dict, to_dict
from datasets.errors import VrmmError
from datasets.lightstage.blend import Blend
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.expressions import PerformanceConfig, expressions, head_motion
from datasets.lightstage.head import HeadModel, Person, Subject
from datasets.lightstage.heads import PROCEDURAL, load_head_model, make_subject
from datasets.lightstage.patterns import LightPatterns, Pattern, PatternConfig
from datasets.lightstage.render import HeadRenderer, RenderedImage, render_seed
from datasets.lightstage.rig import RigConfig, lamp_positions, make_cameras

SEQUENCE = "play"
ENCODING = ImageEncoding(white=4.0)
LICENCE = "synthetic; free of any person's likeness, under the licence of the head model it was rendered from"

_TRUTH_SAMPLES = 150
_TRUTH_SAMPLES_PER_LAMP = 8
_ENVIRONMENT_SAMPLES = 144


@dataclasses.dataclass(kw_only=True)
class StageConfig:
    """A synthetic capture.

    Attributes:
        name: of the capture.
        head_model: ``"procedural"`` or the path of an ICT Face Model (see ``heads.load_head_model``).
        seed: draws people, expressions, head motion and light patterns.
        train_subjects, held_out_subjects: people; skin tones cover the whole range evenly in both groups.
        frames: of every training subject.
        held_out_subject_frames: of every held-out subject.
        held_out_frames: the last frames of every training subject, with expressions kept from training.
        single_samples, samples, full_on_samples: per pixel of frames with one lamp, a group, and all lamps. The more
            lamps, the more noise: 45, 35 and 30 dB with these numbers at 96² (46, 38 and 34 without the 1 % of
            pixels on bright rims).
        held_out_subject_samples: per pixel of all pictures of held-out subjects, whose few photos are fitted and leave
            no noise to average away; 0 is like everyone.
        capture_held_out_cameras: take pictures with the held-out cameras too; where evaluation renders the truth
            itself they are not needed.
        rig, patterns, performance: sections.
    """

    name: str = "stage"
    head_model: str = PROCEDURAL
    seed: int = 0
    train_subjects: int = 20
    held_out_subjects: int = 2
    frames: int = 24
    held_out_subject_frames: int = 12
    held_out_frames: int = 4
    single_samples: int = 16
    samples: int = 36
    full_on_samples: int = 36
    held_out_subject_samples: int = 0
    capture_held_out_cameras: bool = True
    rig: RigConfig = dataclasses.field(default_factory=RigConfig)
    patterns: PatternConfig = dataclasses.field(default_factory=PatternConfig)
    performance: PerformanceConfig = dataclasses.field(default_factory=PerformanceConfig)

    def __post_init__(self) -> None:
        if self.train_subjects < 1 or self.held_out_subjects < 0:
            raise VrmmError("train_subjects must be at least 1 and held_out_subjects at least 0")
        if not 0 <= self.held_out_frames < self.frames:
            raise VrmmError(f"held_out_frames must be from 0 to frames - 1 = {self.frames - 1}")
        if min(self.held_out_subject_frames, self.single_samples, self.samples, self.full_on_samples) < 1:
            raise VrmmError("held_out_subject_frames and the numbers of samples must be at least 1")
        if self.held_out_subject_samples < 0:
            raise VrmmError("held_out_subject_samples must be at least 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruthImage:
    """A clean picture and what is seen in it.

    Attributes:
        image: [3, H, W] float32 linear RGB radiance before black, premultiplied by ``mask``.
        mask: [1, H, W] float32 coverage in [0, 1].
        depth: [1, H, W] along the camera's z axis, metres; 0 where nothing is seen.
        normal: [3, H, W] world frame.
        uv: [2, H, W] texture coordinates.
    """

    image: Float[np.ndarray, "3 H W"]
    mask: Float[np.ndarray, "1 H W"]
    depth: Float[np.ndarray, "1 H W"]
    normal: Float[np.ndarray, "3 H W"]
    uv: Float[np.ndarray, "2 H W"]


class LightStage:
    """Everything about a synthetic capture, rendered on demand. Final.

    Args:
        config: the capture.
        threads: of rendering in this process; None for all cores.
    """

    def __init__(self, config: StageConfig, *, threads: int | None = None) -> None:
        self.config = config
        self._threads = threads
        self._placed: tuple[object, ...] | None = None
        self._blends: dict[frozenset[str], Blend] = {}
        self._lit: tuple[object, ...] | None = None
        self.patterns = LightPatterns(config.patterns, lamp_positions(config.rig), config.seed)

    @staticmethod
    def from_info(info: CaptureInfo, *, threads: int | None = None) -> "LightStage":
        """The stage that made a capture.

        Raises:
            VrmmError: the capture is real, so there is no truth to render, or its head model is missing here.
        """
        if info.synthetic is None:
            raise VrmmError(f"capture {info.name} was not made by the light stage; no ground truth can be rendered")
        return LightStage(from_dict(StageConfig, info.synthetic, f"capture {info.name}"), threads=threads)

    @functools.cached_property
    def model(self) -> HeadModel:
        """The head model, loaded when first asked for."""
        return load_head_model(self.config.head_model)

    @functools.cached_property
    def renderer(self) -> HeadRenderer:
        """The renderer of this process."""
        return HeadRenderer(self.model, threads=self._threads)

    @functools.cached_property
    def info(self) -> CaptureInfo:
        """What ``capture.json`` holds; with it the stage can be built again."""
        config = self.config
        names = _subject_names(config)
        return CaptureInfo(
            name=config.name,
            cameras=make_cameras(config.rig),
            subjects=tuple(names),
            subject_splits=dict(names),
            light_positions=lamp_positions(config.rig),
            encoding=ENCODING,
            licence=LICENCE,
            synthetic=to_dict(config),
        )

    @functools.cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Training subjects, then held-out ones."""
        config = self.config
        tones = np.concatenate(
            [
                np.random.default_rng([config.seed, 21]).permutation(_even_tones(config.train_subjects)),
                _even_tones(config.held_out_subjects),
            ]
        )
        return tuple(
            make_subject(self.model, name, self._subject_seed(index), float(tones[index]))
            for index, name in enumerate(_subject_names(config))
        )

    def subject(self, name: str) -> Subject:
        """Raises VrmmError for an unknown name."""
        return self.subjects[self._number(name)]

    def blend(self, first: str, second: str) -> Blend:
        """The person half-way between two subjects; raises VrmmError for an unknown name."""
        names = frozenset((first, second))
        if names not in self._blends:
            a, b = sorted((first, second))
            self._blends[names] = Blend(first=self.subject(a), second=self.subject(b))
        return self._blends[names]

    def frames(self, subject: str) -> list[Frame]:
        """The subject's frames in order, without their pictures.

        Raises:
            VrmmError: an unknown subject.
        """
        number, config = self._number(subject), self.config
        training = self.info.subject_splits[subject] == "train"
        count = config.frames if training else config.held_out_subject_frames
        kept = count - config.held_out_frames if training else 0
        seed = self._subject_seed(number)
        controls = expressions(self.model.expression_names, count, seed, config.performance)
        poses = head_motion(count, seed, config.performance)
        patterns = self.patterns.sequence(count, seed)
        splits = ["train" if index < kept else "held_out" for index in range(count)]
        return [
            Frame(
                subject=subject,
                sequence=SEQUENCE,
                index=index,
                split=splits[index],
                light=patterns[index].light,
                light_pattern=patterns[index].name,
                full_on=patterns[index].full_on,
                nearest_full_on=_nearest_full_on(subject, index, patterns, splits),
                pose=poses[index],
                expression=tuple(float(value) for value in controls[index]),
            )
            for index in range(count)
        ]

    def held_out_lights(self, count: int) -> list[Pattern]:
        """Groups of lamps that no training frame has."""
        return self.patterns.held_out(count)

    def held_out_lamps(self) -> list[Pattern]:
        """Lamps alone that burn alone in no training frame."""
        return self.patterns.held_out_singles()

    def exposed(self, environment: EnvironmentMap) -> EnvironmentMap:
        """The map scaled so that it is as bright as the full-on pattern."""
        return environment.scaled(self.config.patterns.full_on_irradiance / max(float(environment.flux.mean()), 1e-12))

    def movement(self, expression: Float[np.ndarray, "E"]) -> float:
        """Root mean square distance by which an expression moves the mean head's landmarks, metres.

        Args:
            expression: [E] control values in the order of ``model.expression_names``.
        """
        mean = np.zeros(len(self.model.identity_names))
        rest = self.model.landmarks(mean, self.model.neutral_expression())
        moved = self.model.landmarks(mean, np.asarray(expression))
        return float(np.sqrt(((moved - rest) ** 2).sum(axis=1).mean()))

    def surface(self, subject: str, expression: Float[np.ndarray, "E"]) -> Float[np.ndarray, "V 3"]:
        """The true vertices of all meshes of a subject's head, the same ones for any expression, head frame, metres.

        Raises:
            VrmmError: an unknown subject.
        """
        return np.concatenate(list(self.model.shape(self.subject(subject).identity, np.asarray(expression)).values()))

    def landmarks(self, subject: str, expression: Float[np.ndarray, "E"]) -> Float[np.ndarray, "68 3"]:
        """The Multi-PIE 68 points of a subject with an expression, head frame, metres.

        Raises:
            VrmmError: an unknown subject.
        """
        return self.model.landmarks(self.subject(subject).identity, np.asarray(expression))

    def render_frame(self, frame: Frame, camera: Camera) -> RenderedImage:
        """A picture of the capture, with its noise; a pure function of the config, the frame and the camera."""
        self._place(frame.subject, frame.expression, frame.pose or Pose.identity())
        self._illuminate(frame.light)
        samples = self._samples(frame)
        return self.renderer.image(camera, samples=samples, seed=render_seed(self.config.seed, frame.key, camera.name))

    def truth_image(
        self,
        subject: str,
        expression: Float[np.ndarray, "E"],
        light: Light | EnvironmentMap,
        camera: Camera,
        pose: Pose | None = None,
        samples: int = 0,
        other: str = "",
    ) -> RenderedImage:
        """A clean picture of a subject of the capture, any expression, light, camera and pose.

        Args:
            subject: name.
            expression: [E] control values in the order of ``model.expression_names``.
            light: lamps or an environment map, world frame.
            camera: any with square pixels; it need not be of the rig.
            pose: head→world, at rest by default.
            samples: per pixel; 0 is ``truth_samples``.
            other: a second subject; the picture is of the person half-way to them (see ``Blend``). Empty is nobody.

        Raises:
            VrmmError: an unknown subject, a wrong number of controls, or light that is negative or NaN.
        """
        controls = tuple(float(value) for value in np.asarray(expression).ravel())
        self._place(subject, controls, pose or Pose.identity(), other)
        self._illuminate(light)
        return self.renderer.image(camera, samples=samples or truth_samples(light), seed=render_seed("truth"))

    def render_truth(
        self,
        subject: str,
        expression: Float[np.ndarray, "E"],
        light: Light | EnvironmentMap,
        camera: Camera,
        pose: Pose | None = None,
        samples: int = 0,
    ) -> TruthImage:
        """``truth_image`` with what the camera sees of the geometry; same arguments and errors."""
        picture = self.truth_image(subject, expression, light, camera, pose, samples)
        geometry = self.renderer.geometry(camera)
        return TruthImage(
            image=picture.image, mask=picture.mask, depth=geometry.depth, normal=geometry.normal, uv=geometry.uv
        )

    def _samples(self, frame: Frame) -> int:
        if self.config.held_out_subject_samples and self.info.subject_splits[frame.subject] == "held_out":
            return self.config.held_out_subject_samples
        if frame.full_on:
            return self.config.full_on_samples
        burning = int((frame.light.irradiance > 0).any(axis=1).sum())
        return self.config.samples if burning > 1 else self.config.single_samples

    def _place(self, subject: str, expression: tuple[float, ...] | None, pose: Pose, other: str = "") -> None:
        controls = self.model.neutral_expression() if expression is None else np.array(expression, np.float64)
        if controls.shape != (len(self.model.expression_names),):
            raise VrmmError(
                f"the expression has {controls.size} controls; {self.config.head_model} has "
                f"{len(self.model.expression_names)}"
            )
        person: Person = self.blend(subject, other) if other else self.subject(subject)
        at = np.asarray(pose.rotation).tobytes(), np.asarray(pose.translation).tobytes()
        key = (id(person), controls.tobytes(), *at)  # the stage keeps its people
        if key != self._placed:
            self.renderer.place(person, controls, pose)
            self._placed = key

    def _illuminate(self, light: Light | EnvironmentMap) -> None:
        if isinstance(light, Light):
            key = (light.positions.tobytes(), light.irradiance.tobytes())
        else:
            key = (light.radiance.shape, light.radiance.tobytes())
        if key != self._lit:
            self.renderer.illuminate(light)
            self._lit = key

    def _number(self, subject: str) -> int:
        if subject not in self.info.subjects:
            raise VrmmError(
                f"capture {self.config.name} has no subject {subject}; it has {_listed(self.info.subjects)}"
            )
        return self.info.subjects.index(subject)

    def _subject_seed(self, number: int) -> int:
        return render_seed(self.config.seed, "subject", number)


def truth_samples(light: Light | EnvironmentMap) -> int:
    """Paths per pixel with which a picture at 96² is 40 dB or more from the converged one after display encoding.

    Some for what a single lamp leaves in the shade, and more in proportion to the number of lamps of one brightness
    that would be as hard to choose between, (Σ √power)² / Σ power, as lamps are drawn by the root of their power.
    """
    if isinstance(light, EnvironmentMap):
        return _ENVIRONMENT_SAMPLES
    power = light.irradiance.sum(axis=1).clip(0.0)
    alike = np.sqrt(power).sum() ** 2 / max(power.sum(), 1e-12)
    return round(_TRUTH_SAMPLES + _TRUTH_SAMPLES_PER_LAMP * float(alike))


def _subject_names(config: StageConfig) -> dict[str, str]:
    """Name → split, in order."""
    train = {f"p{index:02d}": "train" for index in range(config.train_subjects)}
    return train | {f"q{index:02d}": "held_out" for index in range(config.held_out_subjects)}


def _even_tones(count: int) -> Float[np.ndarray, "N"]:
    return (np.arange(count) + 0.5) / max(count, 1)


def _nearest_full_on(subject: str, index: int, patterns: list[Pattern], splits: list[str]) -> str | None:
    """Key of the nearest full-on frame; a training frame never points to a held-out one."""
    allowed = [
        other
        for other, pattern in enumerate(patterns)
        if pattern.full_on and (splits[other] == "train" or splits[index] != "train")
    ]
    if not allowed:
        return None
    return frame_key(subject, SEQUENCE, min(allowed, key=lambda other: (abs(other - index), other)))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{names[0]}, {names[1]}, … {names[-1]}"
