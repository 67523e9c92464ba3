"""BecomingLit: a light stage of 40 lamps and 16 cameras; folders of AVIF pictures in sRGB.

Layout and meaning after the data set's own loader (jonathsch/becominglit, becominglit/data/bl_dataset.py)::

    {subject}/
        calibration/camera_calibration.json         cam_data {fx, fy, cx, cy} of all, world_to_cam {id: 4x4}, metres
        calibration/color_calibration.json          {id: 3x3}, on linear RGB
        calibration/light_pattern_metadata.json     light_positions, light_pattern; pattern 0 is every lamp
        sequences/{name}/light_pattern_per_frame.json
        sequences/{name}/images/cam_{id}/frame_{frame:06d}.avif
        sequences/{name}/alpha_birefnet/cam_{id}/frame_{frame:06d}.jpg     made by the user; coverage
"""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.capture import Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.fields import Fields
from datasets.readers.folders import extension_of, numbered_files
from datasets.readers.names import by_subject, captures_at, key_name, subfolders
from datasets.readers.one_person import OnePersonReader
from datasets.readers.paths import read_bytes
from datasets.readers.patterns import FULL_ON, LampPatterns, nearest, patterns_of_frames
from datasets.readers.pictures import mask_member, picture_member
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera, StageOptions, find_stage

_FULL_DURATION = 3000.0
_GROUP_GAIN = 1.0 / 0.66
_ENCODING = ImageEncoding(transfer="srgb", bits=8, matted=False)
_NO_PERSON = ("CALIB", "BACK")  # sequences of the colour chart and of the empty stage begin so
_STEM = "frame_{}"


@dataclasses.dataclass(kw_only=True)
class BecomingLitOptions(StageOptions):
    """What the files of a BecomingLit capture do not say.

    Attributes:
        skip_unlit: leave out frames without light pattern instead of stopping at them.
        downscale: how many times smaller the pictures are than what was calibrated; 1 as published.
    """

    skip_unlit: bool = False
    downscale: float = 1.0

    def __post_init__(self) -> None:
        if not self.downscale > 0.0:
            raise VrmmError(f"downscale is {self.downscale}; it must be above 0")


class BecomingLitReader(OnePersonReader):
    """One person of BecomingLit. Final."""

    FORMAT: ClassVar[str] = "becominglit"
    LICENCE: ClassVar[str] = "BecomingLit, Technical University of Munich, for research under its terms of use"
    OPTIONS: ClassVar[type] = BecomingLitOptions

    def __init__(self, source: Path, selection: Selection, options: BecomingLitOptions) -> None:
        self._source, self._selection, self._options = Path(source), selection, options
        folders = [path for path in subfolders(self._source / "sequences") if not path.name.startswith(_NO_PERSON)]
        self._pictures = functools.lru_cache(maxsize=64)(self._list_pictures)
        self._sequences = {key_name(path.name): path for path in folders}
        calibrated = self._calibration()
        pictured = {path.name.removeprefix("cam_") for folder in folders for path in subfolders(folder / "images")}
        names = [camera.name for camera in calibrated if camera.name in pictured]
        wanted = selection.of_cameras(names, str(self._source / "sequences"))
        self._cameras = [camera for camera in calibrated if camera.name in wanted]
        calibration = self._source / "calibration"
        stage = find_stage(calibrated, 1.0, str(calibration / "camera_calibration.json"), options.front_camera)
        self._patterns = LampPatterns(
            calibration / "light_pattern_metadata.json",
            "light_pattern",
            stage,
            full_duration=_FULL_DURATION,
            group_gain=_GROUP_GAIN,
        )
        subject = key_name(self._source.resolve().name)
        self._describe(subject, stage, self._cameras, _ENCODING, self._patterns.positions)

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        return by_subject((place.resolve().name, place) for place in captures_at(source, _is_capture))

    def members(self, frame: Frame) -> dict[str, bytes]:
        folder = self._sequences[frame.sequence]
        members: dict[str, bytes] = {}
        for camera in self._cameras:
            path = self._pictures(frame.sequence, camera.name).get(frame.index)
            if path is None:
                continue
            encoding = camera.encoding or self._info.encoding
            member, data = picture_member(read_bytes(path), extension_of(path), camera, encoding, str(path))
            members[member] = data
            alpha = folder / "alpha_birefnet" / f"cam_{camera.name}" / f"{path.stem}.jpg"
            if alpha.is_file():
                member, data = mask_member(read_bytes(alpha), camera, str(alpha), extension="jpg")
                members[member] = data
        if not members:
            raise VrmmError(f"{folder / 'images'} has no picture of frame {frame.index}; leave it out")
        return members

    def _list_frames(self) -> list[Frame]:
        return [frame for name in self._sequences for frame in self._frames_of(name)]

    def _frames_of(self, sequence: str) -> list[Frame]:
        path = self._sequences[sequence] / "light_pattern_per_frame.json"
        patterns = patterns_of_frames(path)
        pictured = {number for camera in self._cameras for number in self._pictures(sequence, camera.name)}
        if not self._options.skip_unlit:
            for number in sorted(pictured - patterns.keys()):
                raise VrmmError(
                    f"{path} has no light pattern for frame {number}; leave such frames out with skip_unlit=true"
                )
        chosen = self._selection.frames.of(sorted(pictured & patterns.keys()))
        full_on = [number for number in chosen if patterns[number] == FULL_ON]
        return [self._frame(sequence, number, patterns[number], nearest(full_on, number)) for number in chosen]

    def _frame(self, sequence: str, number: int, pattern: int, reference: int | None) -> Frame:
        (subject,) = self._info.subjects
        frame = Frame(
            subject=subject,
            sequence=sequence,
            index=number,
            light=self._patterns.light(pattern, f"frame {number} of {self._sequences[sequence]}"),
            light_pattern=str(pattern),
            full_on=pattern == FULL_ON,
        )
        key = None if reference is None else dataclasses.replace(frame, index=reference).key
        return dataclasses.replace(frame, nearest_full_on=key)

    def _list_pictures(self, sequence: str, camera: str) -> dict[int, Path]:
        return numbered_files(self._sequences[sequence] / "images" / f"cam_{camera}", _STEM)

    def _calibration(self) -> list[RawCamera]:
        """All cameras; the principal point is measured from the picture's corner."""
        path = self._source / "calibration" / "camera_calibration.json"
        document = Fields.of_file(path, "the cameras' calibration")
        colours = Fields.of_file(self._source / "calibration" / "color_calibration.json", "the cameras' colours")
        lens = {
            name: document["cam_data"][name].number() / self._options.downscale for name in ("fx", "fy", "cx", "cy")
        }
        width, height = self._picture_size()
        if not (0.25 * width < lens["cx"] < 0.75 * width and 0.25 * height < lens["cy"] < 0.75 * height):
            raise VrmmError(
                f"pictures are {width}x{height}, but the principal point of {path} is ({lens['cx']:.0f}, "
                f"{lens['cy']:.0f}); if they were made smaller, say by how much with downscale=2"
            )
        intrinsics = np.array([[lens["fx"], 0.0, lens["cx"]], [0.0, lens["fy"], lens["cy"]], [0.0, 0.0, 1.0]])
        return [
            RawCamera(
                name=key_name(name),
                world_to_camera=matrix.array((4, 4), (3, 4))[:3],
                intrinsics=intrinsics,
                width=width,
                height=height,
                encoding=dataclasses.replace(_ENCODING, matrix=_rows(colours[name].array((3, 3)))),
            )
            for name, matrix in document["world_to_cam"].items()
        ]

    def _picture_size(self) -> tuple[int, int]:
        """Of the first picture that is found; every other one is held to it."""
        for folder in self._sequences.values():
            for camera in subfolders(folder / "images"):
                pictures = numbered_files(camera, _STEM)
                if pictures:
                    path = pictures[min(pictures)]
                    return declared_size(read_bytes(path), extension_of(path), str(path))
        raise VrmmError(f"{self._source / 'sequences'} has no pictures (images/cam_…); is the download complete?")


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _is_capture(source: Path) -> bool:
    calibration = source / "calibration"
    names = ("camera_calibration.json", "light_pattern_metadata.json")
    return (source / "sequences").is_dir() and any((calibration / name).is_file() for name in names)
