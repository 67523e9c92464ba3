"""What videos with a tracked head model have in common: a camera, a head that moves before it, unknown light.

The files give a head model as each picture's camera sees it. Our world stands still with the camera: x and y along
the picture, z from the head to the camera, the origin where the head mostly is. So the head moves and the camera does
not, as in a studio. Nobody measured the light: ``Light.unknown()``.
"""

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from datasets.capture import CaptureInfo, Frame, ImageEncoding, Light
from datasets.errors import VrmmError
from datasets.images import coverage, encode_mask
from datasets.readers.arrays import write_npz
from datasets.readers.opengl import FLIP, MIRROR, is_mirrored
from datasets.readers.pictures import fitted_mask, picture_member
from datasets.readers.reader import CaptureReader, Selection
from datasets.readers.stage import RawCamera, Stage

CAMERA = "camera"
"""Name of the only camera."""
UNKNOWN = "unknown"
"""``Frame.light_pattern`` of unknown light."""
SRGB = ImageEncoding(transfer="srgb", bits=8, matted=False)

_PNG_END = b"IEND\xaeB`\x82"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A stored picture.

    Attributes:
        data: the file's bytes.
        extension: of the file, without dot.
        what: names it in errors.
    """

    data: bytes
    extension: str
    what: str


class TrackedReader(CaptureReader):
    """Reader of pictures in which a head model was tracked. Abstract.

    Args:
        source: the capture's folder or file.
        selection: cameras and frames that are wanted.
        cameras: all that there are, calibrated in metres.
        stage: their world to ours.
        subject: the person's name.
        encoding: of all pictures.
        licence: one line, where it is not ``LICENCE``.
        held_out: names of the cameras that are for testing.
    """

    def __init__(
        self,
        source: Path,
        selection: Selection,
        *,
        cameras: Sequence[RawCamera],
        stage: Stage,
        subject: str,
        encoding: ImageEncoding = SRGB,
        licence: str = "",
        held_out: Collection[str] = (),
    ) -> None:
        wanted = selection.of_cameras([camera.name for camera in cameras], str(source))
        self._selection, self._source, self._stage = selection, source, stage
        self._cameras = [camera for camera in cameras if camera.name in wanted]
        self._info = CaptureInfo(
            name=f"{self.FORMAT}-{subject}",
            cameras=tuple(
                dataclasses.replace(stage.camera(camera), split="held_out" if camera.name in held_out else "train")
                for camera in self._cameras
            ),
            subjects=(subject,),
            subject_splits={subject: "train"},
            light_positions=np.zeros((0, 3)),
            encoding=dataclasses.replace(encoding, matted=False),
            licence=licence or self.LICENCE,
        )

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return self._frames

    def members(self, frame: Frame) -> dict[str, bytes]:
        """Pictures, masks, ``lmk.npz`` and ``geom.npz``; docs/formats.md lists what the arrays are called."""
        members: dict[str, bytes] = {}
        for camera in self._cameras:
            picture = self.picture(frame, camera)
            name, data = picture_member(picture.data, picture.extension, camera, self._info.encoding, picture.what)
            _check_whole(picture)
            members[name] = data
            mask = self.mask(frame, camera, picture)
            if mask is not None:
                fitted = fitted_mask(mask, camera, f"the mask of {picture.what}")
                members[f"{camera.name}.mask.png"] = encode_mask(fitted)
        for name, arrays in (("lmk.npz", self.landmarks(frame)), ("geom.npz", self.geometry(frame))):
            if arrays:
                members[name] = write_npz(arrays)
        return members

    @abstractmethod
    def all_frames(self) -> list[Frame]:
        """Every frame of the source, whatever is selected; made with ``frame``."""

    @abstractmethod
    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        """A frame's picture. Raises VrmmError where it cannot be read."""

    def mask(self, frame: Frame, camera: RawCamera, picture: Picture) -> Float[np.ndarray, "H W"] | None:
        """Coverage of the head in [0, 1], or None where there is none. By default the picture's alpha channel."""
        return alpha(picture)

    def landmarks(self, frame: Frame) -> dict[str, np.ndarray]:
        """Arrays of ``lmk.npz``; empty for no landmarks."""
        return {}

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        """Arrays of ``geom.npz``; empty where nothing is known."""
        return {}

    def frame(
        self, sequence: str, index: int, split: str = "train", head: Float[np.ndarray, "3 4"] | None = None
    ) -> Frame:
        """A frame under unknown light.

        Args:
            sequence, index, split: of the frame.
            head: the rigid head in the cameras' world, metres; None where the files do not tell. Where it mirrors,
                the tracker's own model is left-handed, and ours has the opposite x.
        """
        axes = MIRROR if head is not None and is_mirrored(head) else np.eye(3)
        return Frame(
            subject=self._info.subjects[0],
            sequence=sequence,
            index=index,
            split=split,
            light=Light.unknown(),
            light_pattern=UNKNOWN,
            pose=None if head is None else self._stage.pose(head, axes),
        )

    def model_to_world(self, model: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
        """A motion into the cameras' world (metres) as one into ours."""
        place = self._stage.points(model[None, :, 3])
        return np.concatenate([self._stage.rotation @ model[:, :3], place.T], axis=1)

    @functools.cached_property
    def _frames(self) -> list[Frame]:
        sequences: dict[str, dict[int, Frame]] = {}
        for frame in self.all_frames():
            others = sequences.setdefault(frame.sequence, {})
            if frame.index in others:
                raise VrmmError(f"{self._source} lists frame {frame.index} of sequence {frame.sequence} twice")
            others[frame.index] = frame
        chosen = [frames[number] for frames in sequences.values() for number in self._selection.frames.of(list(frames))]
        if not chosen:
            raise VrmmError(f"{self._source} has no frame of the chosen range; choose others with --frames")
        return chosen


def stage_of_camera(heads: Float[np.ndarray, "T 3"]) -> Stage:
    """Our world for a camera that stands still: upright with the picture, the origin where the head mostly is.

    Args:
        heads: of each frame, OpenCV camera axes, metres.
    """
    return Stage(rotation=FLIP, metres=1.0, origin=np.median(heads, axis=0))


def fixed_camera(
    intrinsics: Float[np.ndarray, "3 3"], size: tuple[int, int], distortion: tuple[float, ...] = ()
) -> RawCamera:
    """The camera whose own axes are the world in which heads are given; ``size`` is width and height in pixels."""
    return RawCamera(
        name=CAMERA,
        world_to_camera=np.eye(4)[:3],
        intrinsics=intrinsics,
        width=size[0],
        height=size[1],
        distortion=distortion,
    )


def alpha(picture: Picture) -> Float[np.ndarray, "H W"] | None:
    """The alpha channel of a PNG in [0, 1], or None where it has none."""
    if picture.extension != "png" or picture.data[25:26] not in (b"\x04", b"\x06"):  # colour type of IHDR
        return None
    import cv2

    stored = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:  # grey with alpha comes out as four channels, too
        raise VrmmError(f"{picture.what} cannot be decoded; copy it again from the source")
    return coverage(stored[..., 3])


def _check_whole(picture: Picture) -> None:
    """Raises VrmmError for a PNG file that breaks off: its bytes are kept, and decoded only when somebody trains."""
    if picture.extension == "png" and _PNG_END not in picture.data[-64:]:
        raise VrmmError(f"{picture.what} breaks off after {len(picture.data)} bytes; copy it again from the source")


def landmark_arrays(
    points: Float[np.ndarray, "P 2"], camera: RawCamera, found: Bool[np.ndarray, "P"] | None = None
) -> dict[str, np.ndarray]:
    """``cameras``, ``points`` and ``visible`` of ``lmk.npz`` for points of one camera's picture, pixels.

    Args:
        points: the first pixel's centre at (0.5, 0.5).
        camera: that sees them.
        found: which of them the detector found; None for all.
    """
    inside = np.all((points >= 0.0) & (points <= [camera.width, camera.height]), axis=1)
    return {
        "cameras": np.array([camera.name]),
        "points": points[None].astype(np.float32),
        "visible": np.logical_and(inside, True if found is None else found)[None],
    }
