"""Multiface: 13 people in a dome of 40 to 150 cameras under even light; folders of PNG pictures.

Layout and meaning after the data set's own documents and loader (facebookresearch/multiface, DATA_STRUCTURE.md and
dataset.py)::

    m--{date}--{time}--{subject}--GHS/
        KRT                                           cameras as text, world to camera, millimetres
        frame_list.txt                                "{expression} {frame}" a line
        images/{expression}/{camera}/{frame:06d}.png  1334x2048
        tracked_mesh/{expression}/{frame:06d}_transform.txt     3x4 head to world
"""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.fields import frame_number, read_text
from datasets.readers.flatlit import Transfer, flat_lit_frame
from datasets.readers.folders import extension_of, numbered_files
from datasets.readers.meta import METRES, our_poses, read_krt, read_pose, rectified, session_subject, spread
from datasets.readers.names import by_subject, captures_at, key_name, subfolders
from datasets.readers.one_person import OnePersonReader
from datasets.readers.paths import read_bytes
from datasets.readers.pictures import picture_member
from datasets.readers.reader import Selection
from datasets.readers.stage import StageOptions, find_stage

SENSOR = 1334, 2048
"""Width and height in pixels that ``KRT`` is of."""

_STEM = "{}"
_Place = tuple[str, int]


@dataclasses.dataclass(kw_only=True)
class MultifaceOptions(StageOptions):
    """What the files of a Multiface capture do not say.

    Attributes:
        transfer: of the pictures' values.
    """

    transfer: Transfer = Transfer.srgb


class MultifaceReader(OnePersonReader):
    """One session of Multiface. Final. It has no masks."""

    FORMAT: ClassVar[str] = "multiface"
    LICENCE: ClassVar[str] = "Multiface, Meta Platforms, CC BY-NC 4.0"
    OPTIONS: ClassVar[type] = MultifaceOptions

    def __init__(self, source: Path, selection: Selection, options: MultifaceOptions) -> None:
        self._source, self._selection = Path(source), selection
        self._pictures = functools.lru_cache(maxsize=256)(self._list_pictures)
        folders = subfolders(self._source / "images")
        pictured = {key_name(camera.name) for folder in folders for camera in subfolders(folder)}
        calibrated = read_krt(self._source / "KRT", SENSOR, self._picture_size(folders))
        calibrated = calibrated if options.undistort else rectified(calibrated)
        names = [camera.name for camera in calibrated if camera.name in pictured]
        wanted = selection.of_cameras(names, str(self._source / "images"))
        self._cameras = [camera for camera in calibrated if camera.name in wanted]
        stage = find_stage(calibrated, METRES, str(self._source / "KRT"), options.front_camera)
        subject = session_subject(self._source)
        self._describe(
            subject, stage, self._cameras, ImageEncoding(transfer=options.transfer.value, bits=8, matted=False)
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        return by_subject((session_subject(place), place) for place in captures_at(source, _is_capture))

    def members(self, frame: Frame) -> dict[str, bytes]:
        members: dict[str, bytes] = {}
        for camera in self._cameras:
            path = self._pictures(frame.sequence, camera.name).get(frame.index)
            if path is not None:
                data = read_bytes(path)
                name, data = picture_member(data, extension_of(path), camera, self._info.encoding, str(path))
                members[name] = data
        if not members:
            folder = self._source / "images" / self._expressions[frame.sequence]
            raise VrmmError(f"{folder} has no picture of frame {frame.index}; leave it out")
        return members

    def _list_frames(self) -> list[Frame]:
        (subject,) = self._info.subjects
        listed = self._listed()
        chosen = [(name, number) for name, numbers in listed.items() for number in self._selection.frames.of(numbers)]
        telling = spread([(name, number) for name, numbers in listed.items() for number in sorted(numbers)])
        poses = our_poses(self._stage, self._poses({*telling, *chosen}), telling)
        return [flat_lit_frame(subject, *place, pose=poses.get(place)) for place in chosen]

    @functools.cached_property
    def _expressions(self) -> dict[str, str]:
        """Sequence → the expression's name on disk."""
        return {key_name(path.name): path.name for path in subfolders(self._source / "images")}

    def _listed(self) -> dict[str, list[int]]:
        """Frames of each sequence that ``frame_list.txt`` lists and that were downloaded."""
        path = self._source / "frame_list.txt"
        frames: dict[str, list[int]] = {}
        for row, line in enumerate(read_text(path, "the list of frames").splitlines(), start=1):
            words = line.split()
            if words and len(words) != 2:
                raise VrmmError(f"{path}: line {row} is {line!r} where an expression and a frame belong")
            if words and key_name(words[0]) in self._expressions:
                frames.setdefault(key_name(words[0]), []).append(frame_number(words[1], f"{path}: line {row}"))
        return frames

    def _poses(self, places: Collection[_Place]) -> dict[_Place, Float[np.ndarray, "3 4"]]:
        poses = {}
        for sequence, number in sorted(places):
            folder = self._source / "tracked_mesh" / self._expressions[sequence]
            path = folder / f"{number:06d}_transform.txt"
            if path.is_file():
                poses[sequence, number] = read_pose(read_text(path, "a head pose"), str(path))
        return poses

    def _list_pictures(self, sequence: str, camera: str) -> dict[int, Path]:
        return numbered_files(self._source / "images" / self._expressions[sequence] / camera, _STEM)

    def _picture_size(self, folders: Sequence[Path]) -> tuple[int, int]:
        """Of the first picture that is found; every other one is held to it."""
        for folder in folders:
            for camera in subfolders(folder):
                pictures = numbered_files(camera, _STEM)
                if pictures:
                    path = pictures[min(pictures)]
                    return declared_size(read_bytes(path), extension_of(path), str(path))
        raise VrmmError(f"{self._source / 'images'} has no pictures; is the download complete?")


def _is_capture(source: Path) -> bool:
    return (source / "images").is_dir() and ((source / "KRT").is_file() or (source / "frame_list.txt").is_file())
