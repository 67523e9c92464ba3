"""INSTA's videos: ``transforms.json`` of the metrical tracker, one person before one camera.

Layout and meaning after INSTA's own scripts (Zielon/INSTA, scripts/transforms.py and scripts/postprocess.py)::

    {subject}/
        transforms.json, transforms_{train,val,test}.json     w, h, cx, cy, fl_x, fl_y; frames, in any order:
            transform_matrix, file_path, mesh_path, exp_path, depth_path, seg_mask_path
        images/{number:05d}.png          RGBA; clothes are taken out of alpha
        meshes/{number:05d}.obj          FLAME with this frame's expression, metres
        flame/exp/{number:05d}.txt       FLAME's expression

``transform_matrix`` is camera-to-world in OpenCV axes, unlike in most files of that name, and the world is the head.
``val`` is a part of ``test``.
"""

import dataclasses
import enum
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.readers.fields import Fields, finite_array, read_text
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import FLIP, inverse, is_mirrored, rigid
from datasets.readers.paths import read_bytes
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera
from datasets.readers.tracked import Picture, TrackedReader, fixed_camera, stage_of_camera
from datasets.readers.transforms import (
    Listed,
    is_transforms_folder,
    listed_frames,
    optional_path,
    picture_path,
    picture_size,
    pixel_intrinsics,
)

_SEQUENCE = "video"
_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_DISTORTION = ("k1", "k2", "p1", "p2")


class Axes(enum.Enum):
    """Of the cameras in a transforms file."""

    auto = "auto"
    opencv = "opencv"
    opengl = "opengl"


@dataclasses.dataclass(kw_only=True)
class InstaOptions:
    """What the files of an INSTA capture do not say.

    Attributes:
        axes: ``auto`` takes OpenCV's where ``mesh_path`` or ``exp_path`` tell that INSTA wrote the file, and asks
            otherwise.
    """

    axes: Axes = Axes.auto


class InstaReader(TrackedReader):
    """One video. Final. The head's pose is that of FLAME without its neck: the tracker turns nothing else."""

    FORMAT: ClassVar[str] = "insta"
    LICENCE: ClassVar[str] = "INSTA, Max Planck Society, non-commercial scientific research only"
    OPTIONS: ClassVar[type] = InstaOptions

    def __init__(self, source: Path, selection: Selection, options: InstaOptions) -> None:
        frames = listed_frames(source)
        self._opengl = _axes(frames[0], options.axes) is Axes.opengl
        self._listed: dict[int, Listed] = {}
        for listed in frames:
            number = _number(listed.entry["file_path"])
            if number in self._listed:
                raise VrmmError(f"{listed.entry['file_path'].origin}: frame {number} is listed a second time")
            self._listed[number] = listed
        lens, size = pixel_intrinsics(frames[0]), picture_size(frames[0])
        for listed in frames[1:]:
            if picture_size(listed) != size or not np.allclose(pixel_intrinsics(listed), lens, rtol=1e-6):
                raise VrmmError(
                    f"{listed.entry.origin} has another camera than the frames before; import each by itself"
                )
        self._heads = {number: self._head(listed) for number, listed in self._listed.items()}
        super().__init__(
            source,
            selection,
            cameras=[fixed_camera(lens, size, _distortion(frames[0]))],
            stage=stage_of_camera(np.array([head[:, 3] for head in self._heads.values()])),
            subject=key_name(source.name),
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        places = [source] if is_transforms_folder(source) else filter(is_transforms_folder, subfolders(source))
        return by_subject((place.name, place) for place in places)

    def all_frames(self) -> list[Frame]:
        numbers = sorted(self._listed)
        return [self.frame(_SEQUENCE, n, self._listed[n].split, self._heads[n]) for n in numbers]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        listed = self._listed[frame.index]
        path = picture_path(self._source, listed)
        data = read_bytes(path, listed.entry["file_path"].origin)
        return Picture(data=data, extension=path.suffix[1:].lower(), what=str(path))

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        listed = self._listed[frame.index]
        expression = optional_path(self._source, listed, "exp_path")
        mesh = optional_path(self._source, listed, "mesh_path")
        return {
            "model_to_world": self.model_to_world(self._heads[frame.index]),
            **({} if expression is None else {"expression": _read_numbers(expression)}),
            **({} if mesh is None else {"vertices": _read_vertices(mesh)}),
        }

    def _head(self, listed: Listed) -> Float[np.ndarray, "3 4"]:
        """The head in the camera's OpenCV axes, metres."""
        entry = listed.entry["transform_matrix"]
        head = inverse(rigid(entry.array((4, 4), (3, 4)), entry.origin))
        if is_mirrored(head):
            raise VrmmError(f"{entry.origin} mirrors the head; is the file damaged?")
        return FLIP @ head if self._opengl else head


def _axes(listed: Listed, asked: Axes) -> Axes:
    """Raises VrmmError for look-alikes that have readers of their own, and where the file does not tell."""
    if "timestep_index" in listed.entry:
        raise VrmmError(f"{listed.entry.origin} has a timestep_index, so VHAP wrote it; import it with the format vhap")
    if "expression" in listed.entry:
        raise VrmmError(f"{listed.entry.origin} has an inline expression, so it is NerFace's; import it as nerface")
    if asked is not Axes.auto:
        return asked
    if "mesh_path" not in listed.entry and "exp_path" not in listed.entry:
        raise VrmmError(
            f"{listed.entry.origin} has no mesh_path or exp_path, so INSTA did not write it, and its axes are not "
            "known; say axes=opencv or axes=opengl"
        )
    return Axes.opencv


def _number(path: Fields) -> int:
    """The last number in a file's name. Raises VrmmError where there is none."""
    match = _NUMBER.search(path.text().rpartition("/")[2].partition(".")[0])
    if match is None:
        raise path.wrong("a name with the frame's number")
    return int(match[1])


def _distortion(listed: Listed) -> tuple[float, ...]:
    values = tuple(listed.field(name).number() if listed.has(name) else 0.0 for name in _DISTORTION)
    return values if any(values) else ()


def _read_numbers(path: Path) -> np.ndarray:
    """One number a line."""
    return finite_array(read_text(path, "a list of numbers").split(), str(path), (None,))


def _read_vertices(path: Path) -> Float[np.ndarray, "V 3"]:
    """The vertices of a Wavefront OBJ, metres, in the head's axes."""
    lines = read_text(path, "a mesh").splitlines()
    rows = [line.split()[1:4] for line in lines if line.startswith("v ")]
    return finite_array(rows, f"{path}: v", (None, 3)).astype(np.float32)
