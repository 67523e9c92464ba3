"""Goliath-4 heads: a light stage of 460 lamps and about 170 cameras; zips of AVIF pictures, linear camera RGB.

Layout and meaning after the data set's own loader (facebookresearch/goliath, ca_code/utils/dataloader.py)::

    m--{date}--{time}--{subject}--pilot--ProjectGoliath--Head/
        camera_calibration.json                KRT: [{cameraId, K, T}], both transposed, for 2668x4096 pixels
        frame_splits_list.csv                  frame, split
        image/cam{id}.zip                      cam{id}/{frame:06d}.avif
        segmentation_parts/cam{id}.zip         cam{id}/{frame:06d}.png, 0 is background
        head_pose/head_pose.zip                {frame:06d}.txt, 3x4 head to world
        lights/light_pattern_per_frame.json    [[frame, pattern]]
        lights/light_pattern_metadata.json     light_positions, light_patterns; pattern 0 is every lamp
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from datasets.capture import Frame, ImageEncoding, Pose
from datasets.errors import VrmmError
from datasets.readers.fields import frame_number, read_table
from datasets.readers.meta import (
    BLACK_LEVEL,
    CALIBRATION,
    METRES,
    WHITE_BALANCE,
    our_poses,
    read_calibration,
    rectified,
    session_subject,
    spread,
    zipped_poses,
)
from datasets.readers.names import by_subject, captures_at
from datasets.readers.one_person import OnePersonReader
from datasets.readers.patterns import FULL_ON, LampPatterns, nearest, patterns_of_frames
from datasets.readers.reader import Selection
from datasets.readers.stage import StageOptions, find_stage
from datasets.readers.zipped import ZippedPictures, picture_size, pictured_cameras

_FULL_DURATION = 5555.0
_ENCODING = ImageEncoding(transfer="linear", bits=8, black_level=BLACK_LEVEL, gain=WHITE_BALANCE, matted=False)
_GREY = "41"  # cameras whose number begins so have no colour filter
_SEQUENCE = "head"
_SPLITS = {"train": "train", "test": "held_out"}


@dataclasses.dataclass(kw_only=True)
class GoliathOptions(StageOptions):
    """What the files of a Goliath capture do not say.

    Attributes:
        skip_unlit: leave out frames without light pattern instead of stopping at them.
    """

    skip_unlit: bool = False


class GoliathReader(OnePersonReader):
    """One head capture of Goliath-4. Final. Cameras without colour filter are left out."""

    FORMAT: ClassVar[str] = "goliath"
    LICENCE: ClassVar[str] = "Goliath-4, Meta Platforms, CC BY-NC 4.0"
    OPTIONS: ClassVar[type] = GoliathOptions

    def __init__(self, source: Path, selection: Selection, options: GoliathOptions) -> None:
        self._source, self._selection, self._options = Path(source), selection, options
        calibrated = read_calibration(self._source / CALIBRATION, picture_size(self._source))
        calibrated = calibrated if options.undistort else rectified(calibrated)
        pictured = pictured_cameras(self._source)
        names = [camera.name for camera in calibrated if camera.name in pictured and not camera.name.startswith(_GREY)]
        wanted = selection.of_cameras(names, str(self._source / "image"))
        cameras = [camera for camera in calibrated if camera.name in wanted]
        self._pictures = ZippedPictures(self._source, cameras, _ENCODING)
        stage = find_stage(calibrated, METRES, str(self._source / CALIBRATION), options.front_camera)
        lights = self._source / "lights" / "light_pattern_metadata.json"
        self._patterns = LampPatterns(lights, "light_patterns", stage, full_duration=_FULL_DURATION)
        subject = session_subject(self._source)
        self._describe(subject, stage, cameras, _ENCODING, self._patterns.positions)

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        return by_subject((session_subject(place), place) for place in captures_at(source, _is_capture))

    def members(self, frame: Frame) -> dict[str, bytes]:
        return self._pictures.members(frame.index)

    def _list_frames(self) -> list[Frame]:
        lights = self._source / "lights" / "light_pattern_per_frame.json"
        splits, patterns = self._splits(), patterns_of_frames(lights)
        if self._options.skip_unlit:
            splits = {number: split for number, split in splits.items() if number in patterns}
        chosen = self._selection.frames.of(list(splits))
        for number in chosen:
            if number not in patterns:
                raise VrmmError(
                    f"{lights} has no light pattern for frame {number}; leave such frames out with skip_unlit=true"
                )
        full_on = [number for number in chosen if patterns[number] == FULL_ON]
        telling = spread(sorted(splits))
        theirs = zipped_poses(self._source / "head_pose" / "head_pose.zip", {*telling, *chosen})
        poses = our_poses(self._stage, theirs, telling)
        return [self._frame(number, splits[number], patterns[number], full_on, poses.get(number)) for number in chosen]

    def _frame(self, number: int, split: str, pattern: int, full_on: list[int], pose: Pose | None) -> Frame:
        (subject,) = self._info.subjects
        reference = nearest(full_on, number)
        frame = Frame(
            subject=subject,
            sequence=_SEQUENCE,
            index=number,
            split=split,
            light=self._patterns.light(pattern, f"frame {number} of {self._source}"),
            light_pattern=str(pattern),
            full_on=pattern == FULL_ON,
            pose=pose,
        )
        key = None if reference is None else dataclasses.replace(frame, index=reference).key
        return dataclasses.replace(frame, nearest_full_on=key)

    def _splits(self) -> dict[int, str]:
        path = self._source / "frame_splits_list.csv"
        splits = {}
        for number, split in read_table(path, "the list of frames", ("frame", "split")):
            if split not in _SPLITS:
                raise VrmmError(f"{path}: frame {number} is of split {split!r}; known are {', '.join(_SPLITS)}")
            splits[frame_number(number, str(path))] = _SPLITS[split]
        return splits


def _is_capture(source: Path) -> bool:
    return (source / "lights").is_dir() and (source / "image").is_dir()
