"""What a capture is: cameras, lights, frames. This module is the conventions page of the project.

Units and frames, everywhere:

* Metres, seconds, radians; right-handed. **World frame**: y up, fixed to the stage, origin where the head
  centre rests. **Head frame**: x to the subject's left, y up, z out of the face, origin at the centre of the
  template's bounding sphere. A head pose is head→world: ``x_world = rotation @ x_head + translation``.
* Cameras have OpenCV axes (x right, y down, z forward): ``x_camera = world_to_camera @ [x_world, 1]``;
  ``intrinsics`` are pixels and the centre of the first pixel is at (0.5, 0.5). No lens distortion.
* Images are ``[3, H, W]`` float32 linear RGB radiance, multiplied by ``mask`` ``[1, H, W]`` in [0, 1] where
  there is one, so that the background is black.
* Rotations are matrices at every interface.
* A lamp's ``irradiance`` is linear RGB power per area arriving at the world origin on a surface that faces it.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError

SCHEMA_VERSION = 2  # of capture.json; 2 has encodings of single cameras, pictures with background, and sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageEncoding:
    """How stored pixel values become linear radiance.

    ``radiance = matrix @ (gain * linearise((stored / (2^bits - 1) - black_level)) * white)`` with ``linearise``
    the inverse of ``transfer`` (``"linear"`` or ``"srgb"``), everything per channel in RGB order. Where ``matted`` is
    False, what is behind the head is still in the picture, and ``radiance`` is then multiplied by the mask.
    """

    transfer: str = "linear"
    bits: int = 16
    white: float = 1.0
    black_level: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    matted: bool = True

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        return {name: entry for name, entry in value.items() if name != "matted" or not entry}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "ImageEncoding":
        return ImageEncoding(
            transfer=value["transfer"],
            bits=value["bits"],
            white=value["white"],
            black_level=tuple(value["black_level"]),
            gain=tuple(value["gain"]),
            matrix=tuple(tuple(row) for row in value["matrix"]),
            matted=bool(value.get("matted", True)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera.

    Attributes:
        name: unique in the capture, no dots or slashes.
        world_to_camera: [3, 4] float64, OpenCV axes, metres.
        intrinsics: [3, 3] float64, pixels, first pixel centre at (0.5, 0.5).
        width, height: pixels.
        split: ``"train"`` or ``"held_out"``.
        encoding: how its stored images become radiance, where it is not as the capture's.
    """

    name: str
    world_to_camera: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    width: int
    height: int
    split: str = "train"
    encoding: ImageEncoding | None = None

    def __post_init__(self) -> None:
        for field in ("world_to_camera", "intrinsics"):
            if not np.isfinite(getattr(self, field)).all():
                raise VrmmError(f"camera {self.name}: {field} holds NaN or infinity; mend the calibration")

    @property
    def center(self) -> Float[np.ndarray, "3"]:
        """The centre of projection, world frame, metres."""
        return -self.world_to_camera[:, :3].T @ self.world_to_camera[:, 3]

    def project(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """World points (metres) to pixels (x right, y down)."""
        in_camera = points @ self.world_to_camera[:, :3].T + self.world_to_camera[:, 3]
        pixels = in_camera @ self.intrinsics.T
        return pixels[:, :2] / pixels[:, 2:]

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera with its image resampled to ``width`` × ``height`` pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return dataclasses.replace(self, intrinsics=scale @ self.intrinsics, width=width, height=height)

    def to_json(self) -> dict[str, Any]:
        own = {} if self.encoding is None else {"encoding": self.encoding.to_json()}
        return {
            "name": self.name,
            "world_to_camera": self.world_to_camera.tolist(),
            "intrinsics": self.intrinsics.tolist(),
            "width": self.width,
            "height": self.height,
            "split": self.split,
            **own,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Camera":
        return Camera(
            name=value["name"],
            world_to_camera=np.array(value["world_to_camera"], np.float64).reshape(3, 4),
            intrinsics=np.array(value["intrinsics"], np.float64).reshape(3, 3),
            width=int(value["width"]),
            height=int(value["height"]),
            split=value.get("split", "train"),
            encoding=ImageEncoding.from_json(value["encoding"]) if "encoding" in value else None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """The lamps that burn in one frame.

    Attributes:
        positions: [L, 3] metres, world frame. Far lamps (environment maps) are put at a large radius.
        irradiance: [L, 3] linear RGB at the world origin on a surface that faces the lamp, never negative.
        known: False where nobody measured how the frame was lit. It has no lamps then, and is no dark frame.
    """

    positions: Float[np.ndarray, "L 3"]
    irradiance: Float[np.ndarray, "L 3"]
    known: bool = True

    @staticmethod
    def unknown() -> "Light":
        """Of pictures that were taken wherever the camera was: phone videos, photos, films."""
        return Light(positions=np.zeros((0, 3)), irradiance=np.zeros((0, 3)), known=False)

    @property
    def directions(self) -> Float[np.ndarray, "L 3"]:
        """Unit vectors from the world origin towards the lamps."""
        return self.positions / np.linalg.norm(self.positions, axis=1, keepdims=True)

    def __add__(self, other: "Light") -> "Light":
        return Light(
            positions=np.concatenate([self.positions, other.positions]),
            irradiance=np.concatenate([self.irradiance, other.irradiance]),
            known=self.known and other.known,
        )

    def scaled(self, factor: float) -> "Light":
        return dataclasses.replace(self, irradiance=self.irradiance * factor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """A rigid head pose, head→world: rotation [3, 3], translation [3] metres."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    @staticmethod
    def identity() -> "Pose":
        return Pose(rotation=np.eye(3), translation=np.zeros(3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """One moment of one subject, seen by the rig's cameras at once.

    Attributes:
        subject, sequence, index: ``key`` is ``{subject}_{sequence}_{index:06d}``.
        split: ``"train"`` or ``"held_out"``.
        light: the lamps that burn.
        light_pattern: name or number of the pattern, for reports and balanced sampling.
        full_on: every lamp burns (used for tracking-like inputs).
        nearest_full_on: key of the nearest full-on frame of the same sequence, or None.
        pose: the head pose where it is known (never used in training), else None.
        expression: the head model's control values where they are known (never used in training), else None.
    """

    subject: str
    sequence: str
    index: int
    split: str = "train"
    light: Light
    light_pattern: str = ""
    full_on: bool = False
    nearest_full_on: str | None = None
    pose: Pose | None = None
    expression: tuple[float, ...] | None = None

    @property
    def key(self) -> str:
        return frame_key(self.subject, self.sequence, self.index)


def frame_key(subject: str, sequence: str, index: int) -> str:
    """The WebDataset key of a frame. Names must not hold dots, slashes or blanks.

    Raises:
        VrmmError: a name that would break the key.
    """
    for name in (subject, sequence):
        if not name or any(character in name for character in "./\\ \t\n"):
            raise VrmmError(f"{name!r} cannot be part of a sample key: no dots, slashes or blanks")
    return f"{subject}_{sequence}_{index:06d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One of the captures in a merged set: what its shards call things, and what those are called in the set.

    Attributes:
        name: unique in the set; its shards are ``{name}-{000000..}.tar``.
        licence: one line.
        cameras: name in its shards → name in the set; two sources have the same cameras of the set or none in common.
        subjects: name in its shards → name in the set.
        sequence_prefix: stands before the names of its sequences in the set.
    """

    name: str
    licence: str
    cameras: dict[str, str]
    subjects: dict[str, str]
    sequence_prefix: str = ""

    def key(self, subject: str, key: str) -> str:
        """What the frame ``key`` of ``subject`` (both as in its shards) is called in the set."""
        return f"{self.subjects[subject]}_{self.sequence_prefix}{key[len(subject) + 1 :]}"

    def renamed(self, frame: Frame) -> Frame:
        """A frame of its shards as a frame of the set. Raises KeyError for a subject that the source lacks."""
        nearest = frame.nearest_full_on
        return dataclasses.replace(
            frame,
            subject=self.subjects[frame.subject],
            sequence=self.sequence_prefix + frame.sequence,
            nearest_full_on=None if nearest is None else self.key(frame.subject, nearest),
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Source":
        return Source(
            name=value["name"],
            licence=value["licence"],
            cameras=dict(value["cameras"]),
            subjects=dict(value["subjects"]),
            sequence_prefix=value["sequence_prefix"],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureInfo:
    """What ``capture.json`` holds: everything about a capture but its frames.

    Attributes:
        name: short name, used for shard file names.
        cameras: the rig.
        subjects: names in a fixed order; index in it is the subject's number.
        subject_splits: subject → ``"train"`` or ``"held_out"`` (never trained on).
        light_positions: [L, 3] every lamp of the rig, metres, world frame (empty if unknown).
        encoding: how stored images become radiance, unless a camera has its own.
        licence: one line.
        synthetic: the light stage's config where the truth can be rendered again, else None.
        sources: the captures that a merged set consists of; empty for a capture.
    """

    name: str
    cameras: tuple[Camera, ...]
    subjects: tuple[str, ...]
    subject_splits: dict[str, str]
    light_positions: Float[np.ndarray, "L 3"]
    encoding: ImageEncoding
    licence: str
    synthetic: dict[str, Any] | None = None
    sources: tuple[Source, ...] = ()

    @functools.cached_property
    def parts(self) -> tuple[Source, ...]:
        """``sources``, or the capture itself where it was not merged."""
        own = {camera.name: camera.name for camera in self.cameras}
        subjects = {subject: subject for subject in self.subjects}
        return self.sources or (Source(name=self.name, licence=self.licence, cameras=own, subjects=subjects),)

    @property
    def rigs(self) -> tuple[frozenset[str], ...]:
        """Names of the cameras that stand together, the distinct rigs of all ``parts``."""
        return tuple(dict.fromkeys(frozenset(part.cameras.values()) for part in self.parts))

    def part_of(self, shard: str) -> int:
        """Number in ``parts`` of the capture that a shard is of. Raises VrmmError where a merged set names none."""
        if not self.sources:
            return 0
        for number, source in enumerate(self.sources):
            if shard.rpartition("-")[0] == source.name:
                return number
        names = ", ".join(source.name for source in self.sources)
        raise VrmmError(f"{shard} is of no capture in the merged set {self.name}, which has {names}")

    def encoding_of(self, camera: Camera) -> ImageEncoding:
        """How the stored images of a camera become radiance."""
        return camera.encoding or self.encoding

    def camera(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise VrmmError(f"capture {self.name} has no camera {name}; it has {', '.join(c.name for c in self.cameras)}")

    def to_json(self) -> dict[str, Any]:
        plain = not self.sources and self.encoding.matted and all(camera.encoding is None for camera in self.cameras)
        value = {
            "schema_version": 1 if plain else SCHEMA_VERSION,  # what an older vrmm reads rightly, it may read
            "name": self.name,
            "licence": self.licence,
            "cameras": [camera.to_json() for camera in self.cameras],
            "subjects": list(self.subjects),
            "subject_splits": dict(self.subject_splits),
            "light_positions": self.light_positions.tolist(),
            "encoding": self.encoding.to_json(),
            "synthetic": self.synthetic,
        }
        return {**value, "sources": [source.to_json() for source in self.sources]} if self.sources else value

    @staticmethod
    def from_json(value: dict[str, Any], origin: str) -> "CaptureInfo":
        """Raises VrmmError for another schema version, a missing key or a wrong value, naming ``origin``."""
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version not in range(1, SCHEMA_VERSION + 1):
            raise VrmmError(f"{origin} has schema version {version}; this vrmm reads 1 to {SCHEMA_VERSION}")
        try:
            return CaptureInfo(
                name=value["name"],
                licence=value["licence"],
                cameras=tuple(Camera.from_json(camera) for camera in value["cameras"]),
                subjects=tuple(value["subjects"]),
                subject_splits=dict(value["subject_splits"]),
                light_positions=np.array(value["light_positions"], np.float64).reshape(-1, 3),
                encoding=ImageEncoding.from_json(value["encoding"]),
                synthetic=value.get("synthetic"),
                sources=tuple(Source.from_json(source) for source in value.get("sources", ())),
            )
        except KeyError as error:
            raise VrmmError(f"{origin} lacks the key {error}; it is not a capture description") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise VrmmError(f"{origin} is damaged ({error}); copy it again, or build the shards again") from error


class Capture(ABC):
    """Subjects × frames × cameras, read lazily."""

    @property
    @abstractmethod
    def info(self) -> CaptureInfo:
        """The rig, the subjects, the colour encoding, the licence."""

    @abstractmethod
    def frames(self) -> Sequence[Frame]:
        """All frames in capture order."""

    @abstractmethod
    def members(self, frame: Frame) -> dict[str, bytes]:
        """The sample's files by extension, in the original bytes where possible.

        ``{camera}.rgb.{png,jpg,avif,exr}``, ``{camera}.mask.png``, optional ``lmk.npz``, ``geom.npz``.
        ``meta.json`` and ``light.npz`` are written from ``frame`` by the shard writer.
        """
