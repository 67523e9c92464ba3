"""RenderMe-360: people in a cylinder of 60 cameras under even light; HDF5 files of encoded pictures, in sRGB.

Layout and meaning after the data set's own reader (renderme_360_reader.py in its download) and benchmarks
(RenderMe-360/RenderMe-360-Benchmark)::

    raw/{actor}/{actor}_{part}_raw.smc      Camera/{00–59}/color/{frame}: bytes of a picture, 2448x2048
    anno/{actor}/{actor}_{part}_anno.smc    Calibration/{00–59}/{K, D, RT}; Camera/{00–59}/mask/{frame}: as color

or all of it in one ``{actor}_{part}.smc``. ``RT`` is camera to world, OpenCV axes, metres; ``K`` and ``D`` are OpenCV's
own, so of whole-numbered pixel centres. Some releases lack cameras: those that are there are listed, not counted.
"""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.images import coverage, declared_size, decode_stored, encode_mask
from datasets.readers.fields import frame_number
from datasets.readers.flatlit import Transfer, flat_lit_frame
from datasets.readers.hdf5 import Hdf5, open_hdf5
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.one_person import OnePersonReader
from datasets.readers.pictures import fitted_mask, picture_member
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera, StageOptions, find_stage

SENSOR = 2448, 2048
"""Width and height in pixels that ``K`` is of, where the file does not say."""

_FRONT = "25"  # straight in front of the face
_FILE = re.compile(r"(?P<actor>[^_]+)_(?P<part>.+?)(_raw)?\.smc")
_ANNOTATIONS = "_anno.smc"
_LENGTHS = 0, 4, 5, 8, 12, 14  # of OpenCV's distortion
_SAME = 1e-6
_STORED = ImageEncoding(bits=8)
_MAGIC = {b"\xff\xd8": "jpg", b"\x89P": "png"}


@dataclasses.dataclass(kw_only=True)
class RenderMe360Options(StageOptions):
    """What the files of a RenderMe-360 capture do not say. Without ``front_camera``, camera 25 is the one in front.

    Attributes:
        transfer: of the pictures' values.
    """

    transfer: Transfer = Transfer.srgb


class RenderMe360Reader(OnePersonReader):
    """One person of RenderMe-360, each of whose parts is a sequence. Final."""

    FORMAT: ClassVar[str] = "renderme360"
    LICENCE: ClassVar[str] = "RenderMe-360, Shanghai AI Laboratory, for research under its terms of use"
    OPTIONS: ClassVar[type] = RenderMe360Options

    def __init__(self, source: Path, selection: Selection, options: RenderMe360Options) -> None:
        self._source, self._selection = Path(source), selection
        self._parts = _parts_of(self._source)
        first = next(iter(self._parts.values()))
        pictured, size = _pictured(self._parts.values())
        calibrated = _rig(self._parts.values(), size)
        if not options.undistort:
            calibrated = [dataclasses.replace(camera, distortion=()) for camera in calibrated]
        names = [camera.name for camera in calibrated if camera.name in pictured]
        wanted = selection.of_cameras(names, str(self._source))
        self._cameras = [camera for camera in calibrated if camera.name in wanted]
        front = options.front_camera or (_FRONT if any(camera.name == _FRONT for camera in calibrated) else "")
        stage = find_stage(calibrated, 1.0, str(first.annotations), front)
        subject = _actor(first.pictures)
        self._describe(
            subject, stage, self._cameras, ImageEncoding(transfer=options.transfer.value, bits=8, matted=False)
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        if source.is_file():
            return by_subject([(_actor(source), source)] if _is_pictures(source) else [])
        places = [place for place in (source, source / "raw") if _files(place)]
        below = places or [*subfolders(source / "raw"), *subfolders(source)]
        return by_subject((_only_actor(place), place) for place in below if _files(place))

    def members(self, frame: Frame) -> dict[str, bytes]:
        part, members = self._parts[frame.sequence], dict[str, bytes]()
        with part.open() as (pictures, annotations):
            for camera in self._cameras:
                key = f"Camera/{camera.name}/color/{frame.index}"
                if key not in pictures:
                    continue
                data, what = pictures.data(key), f"{part.pictures}: {key}"
                name, data = picture_member(data, _kind(data, what), camera, self._info.encoding, what)
                members[name] = data
                members |= self._mask(annotations, camera, frame.index)
        if not members:
            raise VrmmError(f"{part.pictures} has no picture of frame {frame.index}; leave it out")
        return members

    def _list_frames(self) -> list[Frame]:
        (subject,) = self._info.subjects
        frames = []
        for sequence, part in self._parts.items():
            numbers: set[int] = set()
            with open_hdf5(part.pictures) as pictures:
                for camera in self._cameras:
                    key = f"Camera/{camera.name}/color"
                    numbers |= {frame_number(name, f"{part.pictures}: {key}") for name in pictures.names(key)}
            chosen = self._selection.frames.of(list(numbers))
            frames += [flat_lit_frame(subject, sequence, number) for number in chosen]
        return frames

    def _mask(self, annotations: Hdf5, camera: RawCamera, number: int) -> dict[str, bytes]:
        """Coverage is the largest of the three values, as in the data set's own reader."""
        key = f"Camera/{camera.name}/mask/{number}"
        if key not in annotations:
            return {}
        data, what = annotations.data(key), f"{annotations.path}: {key}"
        stored = decode_stored(data, _kind(data, what), _STORED, what)
        return {f"{camera.name}.mask.png": encode_mask(fitted_mask(coverage(stored.max(axis=2)), camera, what))}


@dataclasses.dataclass(frozen=True)
class _Part:
    """One performance: the file of its pictures and that of its calibration and masks, which can be the same."""

    pictures: Path
    annotations: Path

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[Hdf5, Hdf5]]:
        with open_hdf5(self.pictures) as pictures:
            if self.annotations == self.pictures:
                yield pictures, pictures
                return
            with open_hdf5(self.annotations) as annotations:
                yield pictures, annotations


def _parts_of(source: Path) -> dict[str, _Part]:
    """Sequence → part. Raises VrmmError for two parts of one name, or files of several people."""
    files = [source] if source.is_file() else _files(source)
    if not files:
        raise VrmmError(f"{source} has no files {{actor}}_{{part}}_raw.smc; is the download complete?")
    if not source.is_file():
        _only_actor(source)
    parts: dict[str, _Part] = {}
    for path in files:
        match = _FILE.fullmatch(path.name)
        name = key_name(match["part"] if match else path.stem)
        if name in parts:
            raise VrmmError(f"{parts[name].pictures} and {path} are both of part {name}; remove one of them")
        parts[name] = _Part(path, _annotations(path))
    return parts


def _annotations(pictures: Path) -> Path:
    """The file beside the pictures' or in the folder ``anno`` of the download; the pictures' own where none is."""
    name, folder = _annotation_name(pictures), pictures.parent
    beside = [folder, folder.parent / "anno", folder.parent.parent / "anno" / folder.name]
    found = [place / name for place in beside if (place / name).is_file()]
    return found[0] if found else pictures


def _rig(parts: Collection[_Part], size: tuple[int, int]) -> list[RawCamera]:
    """All cameras that any part calibrates. Raises VrmmError where parts differ: a capture is of one rig."""
    cameras: dict[str, tuple[RawCamera, _Part]] = {}
    for part in parts:
        for camera in _calibration(part, size):
            known, other = cameras.setdefault(camera.name, (camera, part))
            if not _agree(camera, known):
                raise VrmmError(
                    f"{part.annotations}: camera {camera.name} is not calibrated as in {other.annotations}; "
                    f"import {part.pictures} by itself"
                )
    return [camera for _, (camera, _) in sorted(cameras.items())]


def _calibration(part: _Part, size: tuple[int, int]) -> list[RawCamera]:
    """All cameras for pictures of ``size`` (width, height)."""
    with part.open() as (pictures, annotations):
        names = annotations.names("Calibration")
        if not names:
            raise VrmmError(
                f"{annotations.path} lacks the key 'Calibration'; put {_annotation_name(part.pictures)} beside it "
                "or into the folder anno of the download"
            )
        scale = np.diag([*_scale(pictures, size), 1.0])
        return [_camera(annotations, name, scale, size) for name in names]


def _camera(annotations: Hdf5, name: str, scale: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> RawCamera:
    key = f"Calibration/{name}"
    to_world = annotations.numbers(f"{key}/RT", (4, 4), (3, 4))
    rotation = to_world[:3, :3].T
    intrinsics = annotations.numbers(f"{key}/K", (3, 3))
    intrinsics[:2, 2] += 0.5
    distortion = annotations.numbers(f"{key}/D", (None,), (1, None), (None, 1)).ravel()
    if len(distortion) not in _LENGTHS:
        raise VrmmError(f"{annotations.path}: {key}/D has {len(distortion)} numbers; OpenCV's lenses have 4, 5 or 8")
    return RawCamera(
        name=key_name(name),
        world_to_camera=np.concatenate([rotation, -rotation @ to_world[:3, 3:]], axis=1),
        intrinsics=scale @ intrinsics,
        width=size[0],
        height=size[1],
        distortion=tuple(distortion.tolist()),
    )


def _scale(pictures: Hdf5, size: tuple[int, int]) -> tuple[float, float]:
    """Pixels of the pictures for each of the sensor, across and down."""
    resolution = pictures.attribute("Camera", "resolution")
    stated = None if resolution is None or resolution.shape != (2,) else resolution[::-1].tolist()  # [height, width]
    width, height = stated or SENSOR
    if min(width, height) <= 0 or abs(size[0] * height - size[1] * width) > max(width, height):
        raise VrmmError(f"pictures are {size[0]}x{size[1]}, but {pictures.path} is calibrated for {width}x{height}")
    return size[0] / width, size[1] / height


def _pictured(parts: Collection[_Part]) -> tuple[set[str], tuple[int, int]]:
    """Cameras that have pictures, and the size of the first one; every other one is held to it."""
    names, size = set[str](), None
    for part in parts:
        with open_hdf5(part.pictures) as pictures:
            for name in pictures.names("Camera"):
                frames = pictures.names(f"Camera/{name}/color")
                if frames:
                    names.add(name)
                if frames and size is None:
                    key = f"Camera/{name}/color/{frames[0]}"
                    data, what = pictures.data(key), f"{part.pictures}: {key}"
                    size = declared_size(data, _kind(data, what), what)
    if size is None:
        places = ", ".join(str(part.pictures) for part in parts)
        raise VrmmError(f"{places} has no pictures (Camera/…/color/…); is the download complete?")
    return names, size


def _agree(camera: RawCamera, other: RawCamera) -> bool:
    return camera.distortion == other.distortion and all(
        np.abs(mine - theirs).max() <= _SAME * max(1.0, np.abs(theirs).max())
        for mine, theirs in (
            (camera.world_to_camera, other.world_to_camera),
            (camera.intrinsics, other.intrinsics),
        )
    )


def _kind(data: bytes, what: str) -> str:
    """The bytes have no name, so they say themselves what they are."""
    kind = _MAGIC.get(data[:2])
    if kind is None:
        raise VrmmError(f"{what} is neither JPEG nor PNG; is the file damaged?")
    return kind


def _files(folder: Path) -> list[Path]:
    """The files of pictures directly in a folder, sorted by name."""
    return sorted(path for path in folder.glob("*.smc") if _is_pictures(path)) if folder.is_dir() else []


def _is_pictures(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix == ".smc" and not hidden and not path.name.endswith(_ANNOTATIONS) and path.is_file()


def _actor(path: Path) -> str:
    match = _FILE.fullmatch(path.name)
    return key_name(match["actor"] if match else path.stem)


def _only_actor(folder: Path) -> str:
    actors = sorted({_actor(path) for path in _files(folder)})
    if len(actors) > 1:
        raise VrmmError(f"{folder} holds files of {', '.join(actors)}; put those of each into a folder of its own")
    return actors[0]


def _annotation_name(pictures: Path) -> str:
    return f"{pictures.stem.removesuffix('_raw')}{_ANNOTATIONS}"
