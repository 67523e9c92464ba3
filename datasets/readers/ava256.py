"""Ava-256: 256 people in a dome of 80 or more cameras under even light; zips of AVIF pictures, linear camera RGB.

Layout and meaning after the data set's own loader (facebookresearch/ava-256, data/ava_dataset.py and utils.py)::

    m--{date}--{time}--{subject}--GHS/decoder/        or without decoder/
        camera_calibration.json         KRT: [{cameraId, K, T, distortion}], as Goliath's
        frame_list.csv                  seg_id, frame_id
        image/cam{id}.zip               cam{id}/{frame:06d}.avif
        segmentation_parts/cam{id}.zip  cam{id}/{frame:06d}.png, if there
        head_pose/head_pose.zip         {frame:06d}.txt, 3x4 head to world
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from datasets.capture import Frame, ImageEncoding
from datasets.readers.fields import frame_number, read_table
from datasets.readers.flatlit import Transfer, flat_lit_frame
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
from datasets.readers.names import by_subject, captures_at, key_name
from datasets.readers.one_person import OnePersonReader
from datasets.readers.reader import Selection
from datasets.readers.stage import StageOptions, find_stage
from datasets.readers.zipped import ZippedPictures, picture_size, pictured_cameras

_FRAMES = "frame_list.csv"
_NO_FACE = ("EXP_Neutral_color_checker",)  # a colour chart is held before the face


@dataclasses.dataclass(kw_only=True)
class Ava256Options(StageOptions):
    """What the files of an Ava-256 capture do not say.

    Attributes:
        transfer: of the pictures' values.
        balance: take out the cameras' black level and balance their white, as for Goliath; False where that was done.
    """

    transfer: Transfer = Transfer.linear
    balance: bool = True


class Ava256Reader(OnePersonReader):
    """One person of Ava-256. Final."""

    FORMAT: ClassVar[str] = "ava256"
    LICENCE: ClassVar[str] = "Ava-256, Meta Platforms, CC BY-NC 4.0"
    OPTIONS: ClassVar[type] = Ava256Options

    def __init__(self, source: Path, selection: Selection, options: Ava256Options) -> None:
        self._source, self._selection = _root(Path(source)), selection
        calibrated = read_calibration(self._source / CALIBRATION, picture_size(self._source))
        calibrated = calibrated if options.undistort else rectified(calibrated)
        pictured = pictured_cameras(self._source)
        names = [camera.name for camera in calibrated if camera.name in pictured]
        wanted = selection.of_cameras(names, str(self._source / "image"))
        cameras = [camera for camera in calibrated if camera.name in wanted]
        stage = find_stage(calibrated, METRES, str(self._source / CALIBRATION), options.front_camera)
        encoding = _encoding(options)
        self._pictures = ZippedPictures(self._source, cameras, encoding)
        subject = session_subject(Path(source))
        self._describe(subject, stage, cameras, encoding)

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        return by_subject((session_subject(place), place) for place in captures_at(source, _is_capture))

    def members(self, frame: Frame) -> dict[str, bytes]:
        return self._pictures.members(frame.index)

    def _list_frames(self) -> list[Frame]:
        (subject,) = self._info.subjects
        path = self._source / _FRAMES
        segments: dict[str, list[int]] = {}
        for segment, number in read_table(path, "the list of frames", ("seg_id", "frame_id")):
            if segment not in _NO_FACE:
                segments.setdefault(key_name(segment), []).append(frame_number(number, str(path)))
        every = sorted(number for numbers in segments.values() for number in numbers)
        chosen = {segment: self._selection.frames.of(numbers) for segment, numbers in segments.items()}
        telling, wanted = spread(every), {number for numbers in chosen.values() for number in numbers}
        theirs = zipped_poses(self._source / "head_pose" / "head_pose.zip", wanted | set(telling))
        poses = our_poses(self._stage, theirs, telling)
        return [
            flat_lit_frame(subject, segment, number, pose=poses.get(number))
            for segment, numbers in chosen.items()
            for number in numbers
        ]


def _encoding(options: Ava256Options) -> ImageEncoding:
    encoding = ImageEncoding(transfer=options.transfer.value, bits=8, matted=False)
    if not options.balance:
        return encoding
    return dataclasses.replace(encoding, black_level=BLACK_LEVEL, gain=WHITE_BALANCE)


def _root(source: Path) -> Path:
    return source / "decoder" if (source / "decoder").is_dir() else source


def _is_capture(source: Path) -> bool:
    root = _root(source)
    lit = (root / "lights").is_dir()  # that is Goliath
    return (root / "image").is_dir() and not lit and any((root / name).is_file() for name in (_FRAMES, CALIBRATION))
