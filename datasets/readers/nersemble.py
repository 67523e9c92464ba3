"""NeRSemble v2: about 420 people in front of 16 cameras under even light; one video for each camera, in sRGB.

Layout and meaning after the data set's own tools (tobias-kirschstein/nersemble-data)::

    {id:03d}/
        calibration/camera_params.json        world_2_cam {serial: 4x4}, intrinsics 3x3 of all, for 2200x3208 pixels
        calibration/color_calibration.json    {serial: 3x3}, on linear RGB
        sequences/{name}/images/cam_{serial}.mp4
        sequences/BACKGROUND/image_{serial}.jpg
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.capture import Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.readers.fields import Fields
from datasets.readers.flatlit import flat_lit_frame
from datasets.readers.names import by_subject, captures_at, key_name, subfolders
from datasets.readers.one_person import OnePersonReader
from datasets.readers.pictures import check_size, jpeg_or_png
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera, StageOptions, find_stage
from datasets.readers.videofile import VideoFile

SENSOR = 2200, 3208
"""Width and height in pixels that ``intrinsics`` is of."""

_ENCODING = ImageEncoding(transfer="srgb", bits=8, matted=False)
_NO_PERSON = ("BACKGROUND", "CALIB")


@dataclasses.dataclass(kw_only=True)
class NeRSembleOptions(StageOptions):
    """What the files of a NeRSemble capture do not say.

    Attributes:
        color_calibration: apply the colour matrix of each camera.
        jpeg_quality: of the stored pictures, because a video has none; 0 stores PNG, which is ten times larger.
    """

    color_calibration: bool = True
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        if not 0 <= self.jpeg_quality <= 100:
            raise VrmmError(f"jpeg_quality is {self.jpeg_quality}; it must be 1 to 100, or 0 for PNG")


class NeRSembleReader(OnePersonReader):
    """One person of NeRSemble. Final. It has no masks, and nobody calibrated its lights."""

    FORMAT: ClassVar[str] = "nersemble"
    LICENCE: ClassVar[str] = "NeRSemble v2, Technical University of Munich, for research under its terms of use"
    OPTIONS: ClassVar[type] = NeRSembleOptions

    def __init__(self, source: Path, selection: Selection, options: NeRSembleOptions) -> None:
        self._source, self._selection, self._options = Path(source), selection, options
        folders = [path for path in subfolders(self._source / "sequences") if not path.name.startswith(_NO_PERSON)]
        self._sequences = {key_name(path.name): path for path in folders}
        self._videos: dict[Path, VideoFile] = {}
        filmed = {path.stem.removeprefix("cam_") for folder in folders for path in folder.glob("images/cam_*.mp4")}
        calibrated = self._calibration(self._video_size(folders))
        names = [camera.name for camera in calibrated if camera.name in filmed]
        wanted = selection.of_cameras(names, str(self._source / "sequences"))
        self._cameras = [camera for camera in calibrated if camera.name in wanted]
        calibration = self._source / "calibration" / "camera_params.json"
        stage = find_stage(calibrated, 1.0, str(calibration), options.front_camera)
        subject = key_name(self._source.resolve().name)
        self._describe(subject, stage, self._cameras, _ENCODING)

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        return by_subject((place.resolve().name, place) for place in captures_at(source, _is_capture))

    @property
    def filmed(self) -> bool:
        return True

    def members(self, frame: Frame) -> dict[str, bytes]:
        self._forget_other_sequences(frame.sequence)
        members = {}
        for camera in self._cameras:
            path = self._video_path(frame.sequence, camera)
            if not path.is_file() or frame.index >= len(self._video(path).times):
                continue
            what = f"{path}: frame {frame.index}"
            video = self._video(path)
            check_size(video.size, camera, what)
            extension, data = jpeg_or_png(video.read(frame.index), self._options.jpeg_quality)
            members[f"{camera.name}.rgb.{extension}"] = data
        return members

    def _list_frames(self) -> list[Frame]:
        """As many as the first camera filmed."""
        (subject,) = self._info.subjects
        frames = []
        for sequence in self._sequences:
            paths = [self._video_path(sequence, camera) for camera in self._cameras]
            first = next((path for path in paths if path.is_file()), None)
            numbers = range(len(VideoFile(first).times)) if first else []
            frames += [flat_lit_frame(subject, sequence, number) for number in self._selection.frames.of(numbers)]
        return frames

    def _video_path(self, sequence: str, camera: RawCamera) -> Path:
        return self._sequences[sequence] / "images" / f"cam_{camera.name}.mp4"

    def _video(self, path: Path) -> VideoFile:
        """A video stays open while its sequence is read, because frames follow each other."""
        if path not in self._videos:
            self._videos[path] = VideoFile(path)
        return self._videos[path]

    def _forget_other_sequences(self, sequence: str) -> None:
        folder = self._sequences[sequence] / "images"
        for path in [path for path in self._videos if path.parent != folder]:
            self._videos.pop(path).close()

    def _video_size(self, folders: Sequence[Path]) -> tuple[int, int]:
        """Of the first video that is found; every other one is held to it."""
        for folder in folders:
            for path in sorted(folder.glob("images/cam_*.mp4")):
                return VideoFile(path).size
        raise VrmmError(f"{self._source / 'sequences'} has no videos (images/cam_….mp4); is the download complete?")

    def _calibration(self, size: tuple[int, int]) -> list[RawCamera]:
        """All cameras; the principal point is measured from the picture's corner."""
        path = self._source / "calibration" / "camera_params.json"
        document = Fields.of_file(path, "the cameras' calibration")
        if abs(size[0] * SENSOR[1] - size[1] * SENSOR[0]) > max(SENSOR):
            raise VrmmError(f"videos are {size[0]}x{size[1]}, but {path} is calibrated for {SENSOR[0]}x{SENSOR[1]}")
        scale = np.diag([size[0] / SENSOR[0], size[1] / SENSOR[1], 1.0])
        intrinsics = scale @ document["intrinsics"].array((3, 3))
        return [
            RawCamera(
                name=key_name(name),
                world_to_camera=matrix.array((4, 4), (3, 4))[:3],
                intrinsics=intrinsics,
                width=size[0],
                height=size[1],
                encoding=self._encoding(name),
            )
            for name, matrix in document["world_2_cam"].items()
        ]

    def _encoding(self, camera: str) -> ImageEncoding:
        if not self._options.color_calibration:
            return _ENCODING
        matrix = self._colours[camera]
        if isinstance(matrix.value, list) and all(isinstance(row, list) and len(row) > 3 for row in matrix.value):
            raise VrmmError(f"{matrix.origin} is a polynomial, not a matrix; set color_calibration=false")
        rows = matrix.array((3, 3)).tolist()
        return dataclasses.replace(_ENCODING, matrix=tuple(tuple(row) for row in rows))

    @functools.cached_property
    def _colours(self) -> Fields:
        return Fields.of_file(self._source / "calibration" / "color_calibration.json", "the cameras' colours")


def _is_capture(source: Path) -> bool:
    names = ("camera_params.json", "color_calibration.json")
    lit = (source / "calibration" / "light_pattern_metadata.json").is_file()  # that is BecomingLit
    calibrated = any((source / "calibration" / name).is_file() for name in names)
    return (source / "sequences").is_dir() and calibrated and not lit
