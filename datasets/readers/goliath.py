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
import functools
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import CaptureInfo, Frame, ImageEncoding, Pose
from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.archive import Archive
from datasets.readers.fields import Fields, finite_array, frame_number, read_table
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.patterns import FULL_ON, LampPatterns, nearest, patterns_of_frames
from datasets.readers.pictures import mask_member, picture_member
from datasets.readers.reader import CaptureReader, Selection
from datasets.readers.stage import RawCamera, Stage, StageOptions, find_stage

CALIBRATION = "camera_calibration.json"
SENSOR = 2668, 4096
"""Width and height in pixels that the calibration is of; the published pictures are smaller."""

_METRES = 0.001  # inferred: the stage is 2.4 m wide and its numbers are of that size in millimetres
_FULL_DURATION = 5555.0
_ENCODING = ImageEncoding(
    transfer="linear", bits=8, black_level=(2 / 255, 1 / 255, 2 / 255), gain=(1.4, 1.1, 1.6), matted=False
)
_GREY = "41"  # cameras whose number begins so have no colour filter
_FOLDER = re.compile(r"m--\d+--\d+--(?P<subject>[^-]+)--")
_SEQUENCE = "head"
_POSES_FOR_AXES = 100
_SPLITS = {"train": "train", "test": "held_out"}


@dataclasses.dataclass(kw_only=True)
class GoliathOptions(StageOptions):
    """What the files of a Goliath capture do not say.

    Attributes:
        skip_unlit: leave out frames without light pattern instead of stopping at them.
    """

    skip_unlit: bool = False


class GoliathReader(CaptureReader):
    """One head capture of Goliath-4. Final. Cameras without colour filter are left out."""

    FORMAT: ClassVar[str] = "goliath"
    LICENCE: ClassVar[str] = "Goliath-4, Meta Platforms, CC BY-NC 4.0"
    OPTIONS: ClassVar[type] = GoliathOptions

    def __init__(self, source: Path, selection: Selection, options: GoliathOptions) -> None:
        self._source, self._selection, self._options = Path(source), selection, options
        pictured = sorted(path.stem.removeprefix("cam") for path in (self._source / "image").glob("cam*.zip"))
        size = _picture_size(self._source, pictured)
        calibrated = read_calibration(self._source / CALIBRATION, size)
        if not options.undistort:
            calibrated = [dataclasses.replace(camera, distortion=()) for camera in calibrated]
        names = [camera.name for camera in calibrated if camera.name in pictured and not camera.name.startswith(_GREY)]
        wanted = selection.of_cameras(names, str(self._source / "image"))
        self._cameras = [camera for camera in calibrated if camera.name in wanted]
        self._stage = find_stage(calibrated, _METRES, str(self._source / CALIBRATION), options.front_camera)
        lights = self._source / "lights" / "light_pattern_metadata.json"
        self._patterns = LampPatterns(lights, "light_patterns", self._stage, full_duration=_FULL_DURATION)
        self._pictures = {name: Archive(self._source / "image" / f"cam{name}.zip") for name in wanted}
        self._parts = {name: Archive(self._source / "segmentation_parts" / f"cam{name}.zip") for name in wanted}
        subject = _subject(self._source)
        self._info = CaptureInfo(
            name=f"goliath-{subject}",
            cameras=tuple(self._stage.camera(camera) for camera in self._cameras),
            subjects=(subject,),
            subject_splits={subject: "train"},
            light_positions=self._patterns.positions,
            encoding=_ENCODING,
            licence=self.LICENCE,
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        places = [source] if _is_capture(source) else [path for path in subfolders(source) if _is_capture(path)]
        return by_subject((_subject(place), place) for place in places)

    @property
    def info(self) -> CaptureInfo:
        return self._info

    @property
    def stage(self) -> Stage:
        """Their world to ours."""
        return self._stage

    def frames(self) -> Sequence[Frame]:
        return self._frames

    def members(self, frame: Frame) -> dict[str, bytes]:
        members: dict[str, bytes] = {}
        for camera in self._cameras:
            archive, name = self._pictures[camera.name], f"cam{camera.name}/{frame.index:06d}"
            picture = archive.find(f"{name}.avif", f"{name}.png")
            if picture is None:
                continue
            what = f"{archive.path}: {picture}"
            extension = picture.rpartition(".")[2]
            member, data = picture_member(archive.read(picture), extension, camera, _ENCODING, what)
            members[member] = data
            members |= self._mask(camera, f"{name}.png")
        if not members:
            raise VrmmError(
                f"{self._source / 'image'} has no picture of frame {frame.index}; leave it out with --frames"
            )
        return members

    def _mask(self, camera: RawCamera, name: str) -> dict[str, bytes]:
        archive = self._parts[camera.name]
        if not archive.path.is_file() or archive.find(name) is None:
            return {}
        member, data = mask_member(archive.read(name), camera, f"{archive.path}: {name}", background={0})
        return {member: data}

    @functools.cached_property
    def _frames(self) -> list[Frame]:
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
        poses = self._poses(list(splits))
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

    def _poses(self, numbers: Sequence[int]) -> dict[int, Pose]:
        """The head poses there are. The axes of the head are found from a hundred frames of the whole capture."""
        path = self._source / "head_pose" / "head_pose.zip"
        if not path.is_file():
            return {}
        archive = Archive(path)
        raw = {number: _read_pose(archive, name) for number in numbers if (name := archive.find(f"{number:06d}.txt"))}
        axes = self._stage.head_axes(list(raw.values())[:: max(1, len(raw) // _POSES_FOR_AXES)])
        return {number: self._stage.pose(pose, axes) for number, pose in raw.items()}


def read_calibration(path: Path, size: tuple[int, int]) -> list[RawCamera]:
    """The cameras of a ``camera_calibration.json`` of this family, for pictures of ``size`` (width, height).

    ``K`` and ``T`` are stored transposed; pixel centres have whole numbers, so that the first pixel begins at -0.5.

    Raises:
        VrmmError: a missing file or key, NaN, a camera that is listed twice, or pictures of another shape than the
            sensor's.
    """
    scale = np.array([size[0] / SENSOR[0], size[1] / SENSOR[1], 1.0])
    if abs(size[0] * SENSOR[1] - size[1] * SENSOR[0]) > max(SENSOR):
        raise VrmmError(f"pictures are {size[0]}x{size[1]}, but {path} is calibrated for {SENSOR[0]}x{SENSOR[1]}")
    cameras: dict[str, RawCamera] = {}
    for entry in Fields.of_file(path, "the cameras' calibration")["KRT"].entries():
        name = entry["cameraId"].text()
        if key_name(name) in cameras:
            raise VrmmError(f"{entry.origin}: camera {name} is listed twice")
        intrinsics = entry["K"].array((3, 3)).T
        intrinsics[:2, 2] += 0.5
        cameras[key_name(name)] = RawCamera(
            name=key_name(name),
            world_to_camera=entry["T"].array((4, 4), (4, 3)).T[:3],
            intrinsics=scale[:, None] * intrinsics,
            width=size[0],
            height=size[1],
            distortion=tuple(entry["distortion"].array((None,)).tolist()) if "distortion" in entry else (),
        )
    return list(cameras.values())


def _picture_size(source: Path, cameras: Sequence[str]) -> tuple[int, int]:
    """Of the first picture of the first camera; every other one is held to it."""
    for camera in cameras:
        archive = Archive(source / "image" / f"cam{camera}.zip")
        for name in archive.names():
            extension = name.rpartition(".")[2]
            if extension in ("avif", "png"):
                return declared_size(archive.read(name), extension, f"{archive.path}: {name}")
    raise VrmmError(f"{source / 'image'} has no pictures (cam….zip); is the download complete?")


def _read_pose(archive: Archive, name: str) -> Float[np.ndarray, "3 4"]:
    try:
        values = np.loadtxt(io.StringIO(archive.read(name).decode()), np.float64, ndmin=2)
    except ValueError as error:
        raise VrmmError(f"{archive.path}: {name} is no matrix ({error})") from error
    return finite_array(values, f"{archive.path}: {name}", (3, 4))


def _is_capture(source: Path) -> bool:
    return (source / "lights").is_dir() and (source / "image").is_dir()


def _subject(source: Path) -> str:
    match = _FOLDER.match(source.resolve().name)
    return match["subject"] if match else key_name(source.resolve().name)
