"""MonoNPHM's videos: pictures, mattes, landmarks, and the head's place from the metrical tracker.

Layout and meaning after the data set's own code (SimonGiebenhain/MonoNPHM,
src/mononphm/photometric_tracking/data_loading.py and scripts/preprocessing)::

    {sequence}/
        source/{number:05d}.png
        matting/{number:05d}.png     coverage of the person
        seg/{place}.png              labels of the face's parts; ``place`` counts the pictures from 0, without zeros
        pipnet/test.npy              [T, 98, 2] WFLW's landmarks, fractions of the picture
        kpt/{number:05d}.npy         [68, 2] landmarks, pixels
        metrical_tracker/{sequence}/checkpoint/{place:05d}_cam_params_opencv.npz    R [1,3,3], t [1,3], K [1,3,3]

``R`` and ``t`` take FLAME (metres; the loader makes it four times as large for its own model) to OpenCV camera axes.
The ``.frame`` files beside them are pickles: never opened.
"""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.images import coverage, declared_size, decode_stored_mask
from datasets.readers.arrays import read_npy, read_npz
from datasets.readers.fields import finite_array, frame_number, read_text
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import from_pixel_numbers, is_mirrored, pinhole, rigid
from datasets.readers.paths import read_bytes
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera
from datasets.readers.tracked import Picture, TrackedReader, fixed_camera, landmark_arrays, stage_of_camera

WORN = 3, 18
"""Labels of clothes and necklaces in ``seg`` (facer's farl/celebm/448)."""
WFLW_TO_68 = (
    *range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60),
    60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75, *range(76, 96),
)  # fmt: skip
"""The Multi-PIE 68 points among WFLW's 98."""

_SEQUENCE = "video"
_STAGE_FRAMES = 16  # read to find where the head mostly is


@dataclasses.dataclass(kw_only=True)
class MonoNPHMOptions:
    """What the files of a MonoNPHM capture do not say.

    Attributes:
        lag: by how much the tracker's numbers trail the pictures'. 1 is right where pictures count from 1, and what
            MonoNPHM's own loader takes; 0 where you ran the tracker on pictures that count from 0.
        intrinsics: a file with ``cx cy fx fy`` on its first line, pixels of ``source``, such as MonoNPHM's
            ``kinect_intrinsics.txt``; empty takes the tracker's estimate.
    """

    lag: int = 1
    intrinsics: str = ""

    def __post_init__(self) -> None:
        if self.lag < 0:
            raise VrmmError(f"lag is {self.lag}; it must be 0 or more")


class MonoNPHMReader(TrackedReader):
    """One sequence. Final. The head's pose is that of FLAME without its neck: the tracker turns nothing else."""

    FORMAT: ClassVar[str] = "mononphm"
    LICENCE: ClassVar[str] = "MonoNPHM and NPHM data, under the terms signed for the download, non-commercial"
    OPTIONS: ClassVar[type] = MonoNPHMOptions

    def __init__(self, source: Path, selection: Selection, options: MonoNPHMOptions) -> None:
        self._lag, self._checkpoints = options.lag, _checkpoints(source)
        numbers = sorted(
            frame_number(path.stem, str(path)) for path in (source / "source").glob("*.png") if path.name[0] != "."
        )
        if not numbers:
            raise VrmmError(f"{source / 'source'} has no pictures; is the download complete?")
        self._place = {number: place for place, number in enumerate(numbers)}
        size = _size(source / "source" / f"{numbers[0]:05d}.png")
        if options.intrinsics:
            self._tracked_lens, lens = None, _read_intrinsics(Path(options.intrinsics))
        else:
            self._tracked_lens = lens = self._track(numbers[0])["K"]
            _check_tracked_size(source, numbers[0], size)
        some = numbers[:: max(1, len(numbers) // _STAGE_FRAMES)]
        super().__init__(
            source,
            selection,
            cameras=[fixed_camera(lens, size)],
            stage=stage_of_camera(np.array([self._head(number)[:, 3] for number in some])),
            subject=key_name(source.name),
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        places = [source] if _is_capture(source) else filter(_is_capture, subfolders(source))
        return by_subject((place.name, place) for place in places)

    def all_frames(self) -> list[Frame]:
        return [self.frame(_SEQUENCE, number, head=self._head(number)) for number in self._place]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        path = self._source / "source" / f"{frame.index:05d}.png"
        return Picture(data=read_bytes(path), extension="png", what=str(path))

    def mask(self, frame: Frame, camera: RawCamera, picture: Picture) -> Float[np.ndarray, "H W"] | None:
        """The matte, without clothes where there are labels."""
        path = self._source / "matting" / f"{frame.index:05d}.png"
        if not path.parent.is_dir():
            return None
        matte = coverage(decode_stored_mask(read_bytes(path), str(path)))
        labels = self._source / "seg" / f"{self._place[frame.index]}.png"
        if not labels.parent.is_dir():
            return matte
        worn = np.isin(decode_stored_mask(read_bytes(labels), str(labels)), WORN)
        if worn.shape != matte.shape:
            raise VrmmError(f"{labels} and {path} are of different sizes; make one of them again")
        return np.where(worn, np.float32(0.0), matte)

    def landmarks(self, frame: Frame) -> dict[str, np.ndarray]:
        """PIPNet's, or else face-alignment's, which is all zeros where it found no face."""
        (camera,) = self._cameras
        path = self._source / "kpt" / f"{frame.index:05d}.npy"
        if self._wflw is not None:
            origin = f"{self._source / 'pipnet' / 'test.npy'}: {self._place[frame.index]}"
            points = finite_array(self._wflw[self._place[frame.index]], origin, (98, 2)) * [camera.width, camera.height]
            every = {"wflw": points[None].astype(np.float32)}
            return {**landmark_arrays(points[list(WFLW_TO_68)], camera), **every}
        if not path.is_file():
            return {}
        points = finite_array(read_npy(path), str(path), (68, 2))
        return landmark_arrays(points, camera, found=np.any(points != 0.0, axis=1))

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        return {"model_to_world": self.model_to_world(self._head(frame.index))}

    @functools.cached_property
    def _wflw(self) -> np.ndarray | None:
        path = self._source / "pipnet" / "test.npy"
        if not path.is_file():
            return None
        points = read_npy(path)
        if points.shape != (len(self._place), 98, 2):
            raise VrmmError(f"{path} is of shape {points.shape} for {len(self._place)} pictures; detect them again")
        return points

    def _head(self, number: int) -> Float[np.ndarray, "3 4"]:
        """FLAME in the camera's OpenCV axes, metres."""
        track = self._track(number)
        if self._tracked_lens is not None and not np.allclose(track["K"], self._tracked_lens, rtol=1e-3):
            raise VrmmError(f"{self._checkpoint(number)}: K is not that of the first frame; a video has one camera")
        return track["head"]

    def _track(self, number: int) -> dict[str, np.ndarray]:
        """The tracker's ``K`` [3, 3] and ``head`` [3, 4] of a frame."""
        path = self._checkpoint(number)
        arrays = read_npz(path, "R", "t", "K")
        shapes = {"R": (1, 3, 3), "t": (1, 3), "K": (1, 3, 3)}
        turn, shift, lens = (finite_array(arrays[key], f"{path}: {key}", shape)[0] for key, shape in shapes.items())
        head = rigid(np.concatenate([turn, shift[:, None]], axis=1), f"{path}: R")
        if is_mirrored(head) or min(lens[0, 0], lens[1, 1]) <= 0.0:
            raise VrmmError(f"{path}: R or K mirrors the head; is the file damaged?")
        return {"K": lens, "head": head}

    def _checkpoint(self, number: int) -> Path:
        return self._checkpoints / f"{max(number - self._lag, 0):05d}_cam_params_opencv.npz"


def _is_capture(folder: Path) -> bool:
    return (folder / "source").is_dir() and (folder / "metrical_tracker").is_dir()


def _checkpoints(source: Path) -> Path:
    """The tracker's results; the folder between is named as the sequence was when it was tracked."""
    runs = [path for path in subfolders(source / "metrical_tracker") if (path / "checkpoint").is_dir()]
    own = [path for path in runs if path.name == source.name] or runs
    if len(own) != 1:
        found = ", ".join(path.name for path in runs) or "none"
        raise VrmmError(f"{source / 'metrical_tracker'} should hold one run with a checkpoint folder; it has {found}")
    return own[0] / "checkpoint"


def _size(path: Path) -> tuple[int, int]:
    try:
        with open(path, "rb") as file:
            return declared_size(file.read(64), "png", str(path))
    except OSError as error:
        raise VrmmError(f"{path} cannot be read ({error.strerror}); pictures have names of five digits") from error


def _check_tracked_size(source: Path, number: int, size: tuple[int, int]) -> None:
    """The tracker's ``K`` is of the pictures in ``images``, which may be crops."""
    path = source / "images" / f"{number:05d}.png"
    if path.is_file() and _size(path) != size:
        width, height = _size(path)
        raise VrmmError(
            f"the tracker's K is of the {width}x{height} pictures in {path.parent}, but source is {size[0]}x{size[1]}; "
            "name the calibration of source with intrinsics=FILE"
        )


def _read_intrinsics(path: Path) -> Float[np.ndarray, "3 3"]:
    """``cx cy fx fy`` of an Azure Kinect, whose pixel centres have whole numbers; what follows is not used."""
    words = (read_text(path, "camera intrinsics").splitlines() or [""])[0].split()
    cx, cy, fx, fy = finite_array(words[:4], str(path), (4,))
    if fx <= 0.0 or fy <= 0.0:
        raise VrmmError(f"{path} must begin with cx cy fx fy, and its focal lengths are not positive")
    return from_pixel_numbers(pinhole(fx, fy, cx, cy))
