"""Where an animation comes from: a curve, a video, the fit of an avatar, a capture or its shards."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Capture, CaptureInfo, Frame, Pose
from datasets.config import find_recipe, load_config
from datasets.errors import VrmmError
from datasets.folder import CAPTURE, FolderCapture
from datasets.images import decode_mask, decode_radiance
from datasets.shards import ShardSet, open_shards
from datasets.views import ViewReader, default_input_cameras
from fitting.avatar import DESCRIPTION, Avatar
from fitting.driver import TrackingConfig, check_face, track
from fitting.drivervideo import SUFFIXES, read_driver_video
from fitting.recipe import FitRecipe
from prior.animation import KEYS, AnimationCurve
from prior.motion import about_rest, encode_motion, through_keys
from prior.vrmm import VRMM
from tools.shows.people import Person, Tour, avatar_person

Progress = Callable[[int, int], None]
Views = tuple[Float[Tensor, "V 3 H W"], Float[Tensor, "V 1 H W"]]
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriverOptions:
    """How a driver is read.

    Attributes:
        fps: of a capture and of a curve through an avatar's photos; of a video, the most frames a second to follow.
        subject, sequence: of a capture; empty for the first one that there is.
        image_size: working size of a video's frames, pixels.
        steps: of the fit to each group of a video's frames.
        cameras: of a capture that the encoders look through; empty for three frontal ones.
    """

    fps: float = 24.0
    subject: str = ""
    sequence: str = ""
    image_size: int = 96
    steps: int = TrackingConfig.steps
    cameras: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Driving:
    """A curve, and what a user should know about it."""

    curve: AnimationCurve
    remarks: Sequence[str] = ()


def read_driver(path: Path, person: Person, options: DriverOptions, progress: Progress) -> Driving:
    """The animation in ``path``, in the codes of the person's prior.

    Args:
        path: ``.npz`` curve, video, avatar, capture or shards.
        person: whose model reads expressions; those of an avatar read them as its prior does.
        options: how it is read.
        progress: called as ``progress(done, total)``.

    Raises:
        VrmmError: none of these, damaged, without a face, or of another prior.
    """
    path = Path(path)
    if not path.exists():
        raise VrmmError(f"driver {path} does not exist; name a video, an avatar, a capture, shards or a curve (.npz)")
    if path.suffix.lower() == ".npz":
        return Driving(curve=AnimationCurve.load(path))
    if path.suffix.lower() in SUFFIXES:
        return _video(path, person, options, progress)
    if (path / DESCRIPTION).is_file():
        return Driving(curve=_avatar(path, person, options))
    if (path / MANIFEST).is_file():
        return Driving(curve=_frames(_Shards(open_shards(path)), person.model, options, progress))
    if (path / CAPTURE).is_file():
        return Driving(curve=_frames(_Folder(FolderCapture(path)), person.model, options, progress))
    raise VrmmError(
        f"{path} drives nothing; name a video ({', '.join(SUFFIXES)}), an avatar, a capture, shards or a curve (.npz)"
    )


def _video(path: Path, person: Person, options: DriverOptions, progress: Progress) -> Driving:
    video = read_driver_video(path, options.image_size, options.fps)
    recipe = load_config(FitRecipe, find_recipe("configs/fitting/default.yaml"))
    recipe = dataclasses.replace(recipe, image_size=options.image_size)
    tracked = track(
        person.model,
        person.rendering,
        person.bank,
        video,
        recipe,
        TrackingConfig(steps=options.steps),
        progress,
    )
    check_face(tracked, str(path))
    return Driving(curve=tracked.curve, remarks=[f"{path}: {reason}" for reason in tracked.reasons])


def _avatar(path: Path, person: Person, options: DriverOptions) -> AnimationCurve:
    """The motion of an avatar's video; of photos, through their expressions and poses, beginning and ending at rest."""
    avatar = Avatar.load(path)
    Tour([person, avatar_person(avatar, path)])  # raises where the priors differ
    if avatar.animation is not None:
        codes, turns, places = (getattr(avatar.animation, name).double().numpy() for name in KEYS[:3])
        return about_rest(codes, turns, places, avatar.animation.fps)
    solution = avatar.solution
    # Photos of one world share the pose, and may share the expression: then they are one key.
    alone = avatar.description["placed"] and len(solution.z_e) == 1
    poses = [
        Pose(rotation=rotation, translation=translation)
        for rotation, translation in zip(
            solution.rotation.double().numpy(), solution.translation.double().numpy(), strict=True
        )
    ]
    return through_keys(solution.z_e.double().numpy(), poses[:1] if alone else poses, options.fps)


class _Source(ABC):
    """Frames of a capture, and the encoders' views of them."""

    info: CaptureInfo

    @abstractmethod
    def frames(self) -> Sequence[Frame]:
        """All of them, in capture order."""

    @abstractmethod
    def views(self, frames: Sequence[Frame], cameras: Sequence[str]) -> Iterator[Views]:
        """Images and masks of each frame. Raises VrmmError for what is damaged or absent."""


class _Shards(_Source):
    def __init__(self, shards: ShardSet) -> None:
        self._shards, self.info = shards, shards.info

    def frames(self) -> Sequence[Frame]:
        return [self._shards.frame(sample) for sample in range(len(self._shards))]

    def views(self, frames: Sequence[Frame], cameras: Sequence[str]) -> Iterator[Views]:
        reader = ViewReader(self._shards, cameras)
        numbers = reader.camera_numbers(cameras)
        for frame in frames:
            batch = reader.new_batch(1, inputs=len(cameras), targets=0)
            reader.fill(batch, 0, self._shards.sample(frame.key), numbers, [])
            yield batch.input_images[0], batch.input_masks[0]


class _Folder(_Source):
    def __init__(self, capture: Capture) -> None:
        self._capture, self.info = capture, capture.info

    def frames(self) -> Sequence[Frame]:
        return self._capture.frames()

    def views(self, frames: Sequence[Frame], cameras: Sequence[str]) -> Iterator[Views]:
        for frame in frames:
            members = self._capture.members(frame)
            images, masks = zip(*(self._view(members, camera, frame.key) for camera in cameras), strict=True)
            if len({image.shape for image in images}) > 1:
                raise VrmmError(f"frame {frame.key}: the encoders' cameras give images of different sizes")
            yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))

    def _view(self, members: dict[str, bytes], camera: str, key: str) -> tuple[np.ndarray, np.ndarray]:
        name = next((name for name in sorted(members) if name.startswith(f"{camera}.rgb.")), None)
        if name is None:
            raise VrmmError(f"frame {key} has no picture of camera {camera}")
        image = decode_radiance(members[name], name, self.info.encoding, f"frame {key}, {name}")
        mask = np.ones(image.shape[:2], np.float32)
        if f"{camera}.mask.png" in members:
            mask = decode_mask(members[f"{camera}.mask.png"], f"frame {key}, {camera}.mask.png")
        return np.ascontiguousarray(image.transpose(2, 0, 1)), mask[None]


def _frames(source: _Source, model: VRMM, options: DriverOptions, progress: Progress) -> AnimationCurve:
    """One sequence of one subject, read by the encoders."""
    info, frames = source.info, source.frames()
    subject = options.subject or next((frame.subject for frame in frames), "")
    own = [frame for frame in frames if frame.subject == subject]
    if not own:
        raise VrmmError(f"capture {info.name} has no frames of subject {subject}; it has {', '.join(info.subjects)}")
    sequence = options.sequence or own[0].sequence
    chosen = [frame for frame in own if frame.sequence == sequence]
    if not chosen:
        names = ", ".join(dict.fromkeys(frame.sequence for frame in own))
        raise VrmmError(f"subject {subject} of capture {info.name} has no sequence {sequence}; there are {names}")
    cameras = options.cameras or default_input_cameras(info)
    if len(cameras) != model.config.encoder_views:
        raise VrmmError(
            f"the expression encoder looks through {model.config.encoder_views} cameras, but capture {info.name} "
            f"gives it {len(cameras)} ({', '.join(cameras)}); name the cameras with --driver-camera"
        )
    views = source.views(chosen, [info.camera(name).name for name in cameras])
    return encode_motion(model, views, len(chosen), options.fps, progress)
