"""A plain video, or a folder of pictures of one person: nothing is calibrated, nothing is tracked.

What may lie beside it, all of it or none::

    clip.mp4                                          folder/IMG_0001.jpg …
    clip.mask.mp4, or clip.masks/{number}.png         folder/IMG_0001.mask.png …, or folder/masks/IMG_0001.png …
    clip.lmk.npz: landmarks [T, 68, 2]                folder/IMG_0001.lmk.npz …: landmarks [68, 2]

These are the names that ``vrmm fit`` gives to photos. Landmarks are pixels of the upright picture, with the first
pixel's centre at (0.5, 0.5). A video's frames count from 0, a folder's pictures as their names do.
"""

import dataclasses
import functools
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.images import coverage, decode_stored_mask
from datasets.readers.arrays import read_npz
from datasets.readers.clips import MASK, VIDEOS, Clip, has_pictures, open_clip
from datasets.readers.fields import Fields, finite_array
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import pinhole
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera
from datasets.readers.tracked import SRGB, Picture, TrackedReader, alpha, fixed_camera, landmark_arrays, stage_of_camera

LANDMARKS = ".lmk.npz"

_LOG = logging.getLogger(__name__)
_SEQUENCE = "video"
_USUAL_FOCAL = 1.2  # of the longer side: 45 degrees, between a phone's cameras and a portrait lens
_HEAD_METRES = 0.25
_HEAD_SHARE = 0.5  # of the shorter side, in the usual picture of a head


@dataclasses.dataclass(kw_only=True)
class VideoOptions:
    """What a plain video does not say.

    Attributes:
        camera: a JSON file with ``intrinsics`` [3, 3], ``width`` and ``height`` in pixels; empty where it is unknown.
        focal: of the lens in pixels, where there is no ``camera``; 0 takes 1.2 times the longer side.
        distance: metres from the camera to the head; 0 takes that from which a head fills half the shorter side.
        masks: a video or a folder, where it is not beside the source.
        landmarks: a file with ``landmarks`` [T, 68, 2], where it is not beside the source.
        licence: of the pictures, one line.
    """

    camera: str = ""
    focal: float = 0.0
    distance: float = 0.0
    masks: str = ""
    landmarks: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("focal", "distance"):
            if getattr(self, name) < 0.0:
                raise VrmmError(f"{name} is {getattr(self, name)}; it must be positive, or 0 where it is unknown")


class VideoReader(TrackedReader):
    """One video or folder. Final. Lens and distance are guesses where the options do not tell; a warning says so."""

    FORMAT: ClassVar[str] = "video"
    LICENCE: ClassVar[str] = "not recorded; it is for those who filmed and were filmed to say"
    OPTIONS: ClassVar[type] = VideoOptions

    def __init__(self, source: Path, selection: Selection, options: VideoOptions) -> None:
        self._clip = open_clip(source)
        self._options, self._place = options, source
        size = self._clip.size
        lens = _lens(options, size, source)
        distance = options.distance or lens[0, 0] * _HEAD_METRES / (_HEAD_SHARE * min(size))
        super().__init__(
            source,
            selection,
            cameras=[fixed_camera(lens, size)],
            stage=stage_of_camera(np.array([[0.0, 0.0, distance]])),
            subject=key_name(source.name if source.is_dir() else source.stem),
            encoding=dataclasses.replace(SRGB, bits=_bits(self._clip)),
            licence=options.licence,
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        if source.is_file():
            return by_subject([(source.stem, source)] if _is_video(source) else [])
        if has_pictures(source):
            return by_subject([(source.name, source)])
        videos = [path for path in sorted(source.iterdir()) if _is_video(path)]
        folders = [path for path in subfolders(source) if has_pictures(path) and path.suffix != ".masks"]
        return by_subject([(path.stem, path) for path in videos] + [(path.name, path) for path in folders])

    def all_frames(self) -> list[Frame]:
        if self._masks is not None and self._masks.numbers != self._clip.numbers:
            bare = set(self._clip.numbers) ^ set(self._masks.numbers)
            raise VrmmError(f"{self._place} and its masks do not have the same frames: only one has frame {min(bare)}")
        return [self.frame(_SEQUENCE, number) for number in self._clip.numbers]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        return self._clip.picture(frame.index)

    def mask(self, frame: Frame, camera: RawCamera, picture: Picture) -> Float[np.ndarray, "H W"] | None:
        """The mask's file, or else the picture's alpha channel."""
        if self._masks is None:
            return alpha(picture)
        stored = self._masks.picture(frame.index)
        return coverage(decode_stored_mask(stored.data, stored.what, stored.extension))

    def landmarks(self, frame: Frame) -> dict[str, np.ndarray]:
        """None for a frame whose landmarks are NaN: no face was found."""
        (camera,) = self._cameras
        points, origin = self._points(frame.index)
        if points is None or np.isnan(points).all():
            return {}
        return landmark_arrays(finite_array(points, origin, (68, 2)), camera)

    def _points(self, number: int) -> tuple[np.ndarray | None, str]:
        """A frame's landmarks if there are any, and where they stand."""
        if self._all_points is not None:
            place = self._clip.numbers.index(number)
            return self._all_points[place], f"{self._landmark_file}: frame {number}"
        picture = self._clip.file(number)
        if picture is None:
            return None, ""
        path = picture.with_name(f"{picture.stem}{LANDMARKS}")
        return (read_npz(path, "landmarks")["landmarks"] if path.is_file() else None), str(path)

    @property
    def _landmark_file(self) -> Path:
        """The one of the whole clip."""
        if self._options.landmarks:
            return Path(self._options.landmarks)
        return self._place.with_name(f"{self._place.stem}{LANDMARKS}")

    @functools.cached_property
    def _all_points(self) -> np.ndarray | None:
        path = self._landmark_file
        if not self._options.landmarks and (self._place.is_dir() or not path.is_file()):
            return None
        points = read_npz(path, "landmarks")["landmarks"]
        if points.shape != (len(self._clip.numbers), 68, 2) or points.dtype.kind != "f":
            raise VrmmError(
                f"{path}: landmarks is of shape {points.shape}; needed is ({len(self._clip.numbers)}, 68, 2) in pixels"
            )
        return points

    @functools.cached_property
    def _masks(self) -> Clip | None:
        if self._options.masks:
            return open_clip(Path(self._options.masks))
        if self._place.is_dir():
            if has_pictures(self._place, MASK):
                return open_clip(self._place, MASK)
            return open_clip(self._place / "masks") if has_pictures(self._place / "masks") else None
        beside = self._place.with_name(f"{self._place.stem}.masks")
        if has_pictures(beside):
            return open_clip(beside)
        videos = [self._place.with_name(f"{self._place.stem}{MASK}{suffix}") for suffix in VIDEOS]
        return next((open_clip(path) for path in videos if path.is_file()), None)


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEOS and path.name[0] != "." and Path(path.stem).suffix != MASK


def _bits(clip: Clip) -> int:
    """8, or 16 for PNG pictures of that depth."""
    picture = clip.picture(clip.numbers[0])
    return 16 if picture.extension == "png" and picture.data[24] == 16 else 8  # bit depth of IHDR


def _lens(options: VideoOptions, size: tuple[int, int], source: Path) -> Float[np.ndarray, "3 3"]:
    if options.camera:
        return _calibrated(Path(options.camera), size, source)
    if not options.focal:
        _LOG.warning("%s does not say what lens it was taken with; 45 degrees are assumed (focal=PIXELS)", source)
    focal = options.focal or _USUAL_FOCAL * max(size)
    return pinhole(focal, focal, size[0] / 2.0, size[1] / 2.0)


def _calibrated(path: Path, size: tuple[int, int], source: Path) -> Float[np.ndarray, "3 3"]:
    camera = Fields.of_file(path, "a camera")
    if (camera["width"].integer(), camera["height"].integer()) != size:
        raise VrmmError(
            f"{path} is of {camera['width'].value}x{camera['height'].value} pixels, but {source} of {size[0]}x{size[1]}"
        )
    lens = camera["intrinsics"].array((3, 3))
    if min(lens[0, 0], lens[1, 1]) <= 0.0:
        raise camera["intrinsics"].wrong("a matrix with positive focal lengths")
    return lens
