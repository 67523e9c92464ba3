"""NerFace's videos: ``transforms_{train,val,test}.json`` with Face2Face's expressions in them.

Layout and meaning after the data set's own code (gafniguy/4D-Facial-Avatars, nerface_code/nerf-pytorch:
nerf/nerface_dataloader.py, nerf/nerf_helpers.py, real_to_nerf.py)::

    {subject}/
        transforms_{train,val,test}.json    intrinsics [fx, fy, cx / width, cy / height]; frames: file_path without
                                            extension, transform_matrix, expression [76], bbox (rows, then columns)
        {train,val,test}/f_{number:04d}.png numbered anew in each part

``transform_matrix`` is camera-to-world in OpenGL axes, and the world is the head. Pixel centres have whole numbers.
``fx`` is negative in the published files and its sign counts: their world is left-handed, and ours has the other x.
Every sequence was scaled so that the camera is 0.5 away, whatever that is in metres.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import FLIP, from_pixel_numbers, inverse, pinhole, positive_focal, rigid
from datasets.readers.paths import read_bytes
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera
from datasets.readers.tracked import Picture, TrackedReader, fixed_camera, stage_of_camera
from datasets.readers.transforms import PARTS, Listed, first_picture_size, listed_parts, part_file, picture_path

FACE_BOX_METRES = 0.195
"""Width of ``bbox``: a face model of 15 cm, ear to ear, and 15 % of that on either side (real_to_nerf.py)."""

_NUMBER = re.compile(r"\d+$")


@dataclasses.dataclass(kw_only=True)
class NerFaceOptions:
    """What the files of a NerFace capture do not say.

    Attributes:
        metres_per_unit: of the distances in the file; 0 takes the value that makes the face boxes as wide as a face,
            which is right within about a tenth.
    """

    metres_per_unit: float = 0.0

    def __post_init__(self) -> None:
        if self.metres_per_unit < 0.0:
            raise VrmmError(f"metres_per_unit is {self.metres_per_unit}; it must be positive, or 0 to estimate it")


class NerFaceReader(TrackedReader):
    """One video. Final. Its parts are its sequences, because each counts its frames from 0."""

    FORMAT: ClassVar[str] = "nerface"
    LICENCE: ClassVar[str] = "4D Facial Avatars (NerFace), CC BY-NC-SA 3.0"
    OPTIONS: ClassVar[type] = NerFaceOptions

    def __init__(self, source: Path, selection: Selection, options: NerFaceOptions) -> None:
        self._listed: dict[tuple[str, int], Listed] = {}
        for listed in listed_parts(source):
            key = listed.part, _number(listed)
            if key in self._listed:
                raise VrmmError(f"{listed.entry['file_path'].origin}: frame {key[1]} is listed a second time")
            self._listed[key] = listed
        if not self._listed:
            raise VrmmError(f"{source} has no frames in {part_file('train')}; is the download complete?")
        frames = list(self._listed.values())
        size = first_picture_size(source, frames)
        self._lens = _one_lens(frames, size)
        heads = {key: _head(listed, self._lens) for key, listed in self._listed.items()}
        metres = options.metres_per_unit or _estimated_metres(source, frames, heads.values(), self._lens, size)
        self._heads = {key: np.concatenate([h[:, :3], metres * h[:, 3:]], axis=1) for key, h in heads.items()}
        super().__init__(
            source,
            selection,
            cameras=[fixed_camera(positive_focal(np.eye(4)[:3], self._lens)[1], size)],
            stage=stage_of_camera(np.array([head[:, 3] for head in self._heads.values()])),
            subject=key_name(source.name),
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        places = [source] if _is_capture(source) else filter(_is_capture, subfolders(source))
        return by_subject((place.name, place) for place in places)

    def all_frames(self) -> list[Frame]:
        return [self.frame(*key, self._listed[key].split, self._heads[key]) for key in sorted(self._listed)]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        listed = self._listed[frame.sequence, frame.index]
        path = picture_path(self._source, listed)
        return Picture(data=read_bytes(path, listed.entry["file_path"].origin), extension="png", what=str(path))

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        key = frame.sequence, frame.index
        listed, (camera,) = self._listed[key], self._cameras
        top, bottom, left, right = _box(listed)
        width, height = camera.width, camera.height
        return {
            "model_to_world": self.model_to_world(self._heads[key]),
            "expression": listed.entry["expression"].array((None,)),
            "face_box": np.array([left * width, top * height, right * width, bottom * height]),
        }


def _is_capture(folder: Path) -> bool:
    return any((folder / part_file(part)).is_file() for part in PARTS)


def _number(listed: Listed) -> int:
    if "expression" not in listed.entry:
        raise VrmmError(f"{listed.entry.origin} has no inline expression, so it is not NerFace's; try insta or vhap")
    path = listed.entry["file_path"]
    match = _NUMBER.search(PurePosixPath(path.text()).stem)
    if match is None:
        raise path.wrong("a name that ends with the frame's number")
    return int(match[0])


def _one_lens(frames: Sequence[Listed], size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    """Pixels, OpenCV axes, signs as in the files. Raises VrmmError where the parts differ."""
    documents = {listed.part: listed.document["intrinsics"] for listed in frames}
    lenses = []
    for entry in documents.values():
        fx, fy, cx, cy = entry.array((4,))
        if fx == 0.0 or fy == 0.0:
            raise entry.wrong("a focal length other than zero")
        lenses.append(from_pixel_numbers(pinhole(fx, fy, cx * size[0], cy * size[1])))
        if not np.allclose(lenses[-1], lenses[0], rtol=1e-6):
            raise VrmmError(f"{entry.origin} is another camera than that of {next(iter(documents))}; mend the files")
    return lenses[0]


def _head(listed: Listed, lens: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 4"]:
    """Their world, which is the head, in the camera's OpenCV axes, in the file's unit; it mirrors if that does."""
    entry = listed.entry["transform_matrix"]
    return positive_focal(FLIP @ inverse(rigid(entry.array((4, 4)), entry.origin)), lens)[0]


def _box(listed: Listed) -> Float[np.ndarray, "4"]:
    """Top, bottom, left, right as fractions of the picture; all of it where there is none."""
    return listed.entry["bbox"].array((4,)) if "bbox" in listed.entry else np.array([0.0, 1.0, 0.0, 1.0])


def _estimated_metres(source: Path, frames: Sequence[Listed], heads, lens: np.ndarray, size: tuple[int, int]) -> float:
    """Metres per unit, the median over the frames that have a box of the face."""
    estimates = []
    for listed, head in zip(frames, heads, strict=True):
        _, _, left, right = _box(listed)
        if 0.0 < left < right < 1.0:  # one that touches the border is cut off, or stands for no box
            units = (right - left) * size[0] * abs(head[2, 3] / lens[0, 0])
            estimates.append(FACE_BOX_METRES / units)
    if not estimates:
        raise VrmmError(f"{source} has no boxes of the face to tell its scale from; give metres_per_unit")
    return float(np.median(estimates))
