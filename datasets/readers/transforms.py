"""``transforms.json`` and its parts for training, validation and testing, of which NeRF's followers have many kinds."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.fields import Fields
from datasets.readers.opengl import pinhole
from datasets.readers.paths import inside

WHOLE = "transforms.json"
PARTS = {"train": "train", "val": "held_out", "test": "held_out"}
"""Part → split of its frames; ``transforms_{part}.json``."""

_HEADER = 1 << 16  # JPEG headers can be long


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed:
    """A frame that a transforms file lists.

    Attributes:
        entry: its record.
        document: the whole file, which holds what all its frames share.
        part: ``"train"``, ``"val"`` or ``"test"``; empty where the file has no parts.
        split: of the frame.
    """

    entry: Fields
    document: Fields
    part: str
    split: str

    def field(self, name: str) -> Fields:
        """A value of the frame, or else of the whole file. Raises VrmmError where neither has it."""
        return self.entry[name] if name in self.entry else self.document[name]

    def has(self, name: str) -> bool:
        return name in self.entry or name in self.document


def is_transforms_folder(folder: Path) -> bool:
    """The folder holds one of the files."""
    return any((folder / name).is_file() for name in (WHOLE, *map(part_file, PARTS)))


def part_file(part: str) -> str:
    """``transforms_train.json`` and so on."""
    return f"transforms_{part}.json"


def listed_parts(folder: Path) -> list[Listed]:
    """The frames of all parts, one after the other, in the order of the files."""
    found = []
    for part, split in PARTS.items():
        path = folder / part_file(part)
        if path.is_file():
            found += _listed(Fields.of_file(path, "a list of frames"), part, split)
    return found


def listed_frames(folder: Path) -> list[Listed]:
    """Every frame once, from ``transforms.json`` or else from its parts; one that is in any test is held out.

    Raises:
        VrmmError: there is none of the files, or no frame in them.
    """
    parts = listed_parts(folder)
    tested = {listed.entry["file_path"].text() for listed in parts if listed.split == "held_out"}
    if (folder / WHOLE).is_file():
        frames = _listed(Fields.of_file(folder / WHOLE, "a list of frames"), "", "train")
    else:
        frames = list({listed.entry["file_path"].text(): listed for listed in parts}.values())
    if not frames:
        raise VrmmError(f"{folder} has no frames in {WHOLE} or {part_file('train')}; is the download complete?")
    splits = ["held_out" if listed.entry["file_path"].text() in tested else "train" for listed in frames]
    return [dataclasses.replace(listed, split=split) for listed, split in zip(frames, splits, strict=True)]


def _listed(document: Fields, part: str, split: str) -> list[Listed]:
    return [Listed(entry=entry, document=document, part=part, split=split) for entry in document["frames"].entries()]


def picture_path(folder: Path, listed: Listed) -> Path:
    """The picture of a frame, whose name may lack its extension. Raises VrmmError for a name that leads out."""
    entry = listed.entry["file_path"]
    path = inside(folder, entry.text(), entry.origin)
    return path if path.suffix else path.with_suffix(".png")


def optional_path(folder: Path, listed: Listed, name: str) -> Path | None:
    """The file that a frame names, if it names one and it is there."""
    if name not in listed.entry:
        return None
    path = inside(folder, listed.entry[name].text(), listed.entry[name].origin)
    return path if path.is_file() else None


def first_picture_size(folder: Path, frames: Sequence[Listed]) -> tuple[int, int]:
    """Width and height, from the header of the first picture that is there. Raises VrmmError where none is."""
    for listed in frames:
        path = picture_path(folder, listed)
        if path.is_file():
            with open(path, "rb") as file:
                return declared_size(file.read(_HEADER), path.suffix, str(path))
    raise VrmmError(f"{folder} has none of the pictures that its frames name; is the download complete?")


def picture_size(listed: Listed) -> tuple[int, int]:
    """``w`` and ``h``. Raises VrmmError where they are missing or no sizes."""
    width, height = listed.field("w"), listed.field("h")
    for field in (width, height):
        if field.number() < 1 or field.number() % 1:
            raise field.wrong("a number of pixels")
    return int(width.number()), int(height.number())


def pixel_intrinsics(listed: Listed) -> Float[np.ndarray, "3 3"]:
    """``fl_x``, ``fl_y``, ``cx``, ``cy`` in pixels, or what instant-ngp takes where some are missing.

    The first pixel centre is at (0.5, 0.5). Raises VrmmError for no focal length, or one that is not positive.
    """
    width, height = picture_size(listed)
    if listed.has("fl_x"):
        fx = listed.field("fl_x").number()
    else:
        fx = width / 2.0 / math.tan(listed.field("camera_angle_x").number() / 2.0)
    fy = listed.field("fl_y").number() if listed.has("fl_y") else fx
    if fx <= 0.0 or fy <= 0.0:
        raise listed.field("fl_x").wrong("a positive focal length")
    cx = listed.field("cx").number() if listed.has("cx") else width / 2.0
    cy = listed.field("cy").number() if listed.has("cy") else height / 2.0
    return pinhole(fx, fy, cx, cy)
