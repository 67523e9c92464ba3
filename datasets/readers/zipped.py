"""Pictures of captures that have one zip for each camera: ``image/cam{id}.zip`` with ``cam{id}/{frame:06d}.avif``."""

from collections.abc import Sequence
from pathlib import Path

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.archive import Archive
from datasets.readers.pictures import mask_member, picture_member
from datasets.readers.stage import RawCamera

_KINDS = ("avif", "png", "jpg")
_BACKGROUND = 0  # label in segmentation_parts


class ZippedPictures:
    """The pictures of some cameras, and masks out of ``segmentation_parts`` where it is there. Final.

    Args:
        source: of the capture.
        cameras: whose pictures are wanted.
        encoding: of the pictures.
    """

    def __init__(self, source: Path, cameras: Sequence[RawCamera], encoding: ImageEncoding) -> None:
        self._source, self._cameras, self._encoding = source, cameras, encoding
        self._pictures = {c.name: Archive(source / "image" / f"cam{c.name}.zip") for c in cameras}
        self._parts = {c.name: Archive(source / "segmentation_parts" / f"cam{c.name}.zip") for c in cameras}

    def members(self, number: int) -> dict[str, bytes]:
        """A frame's pictures and masks. Raises VrmmError for damage, and where no camera saw the frame."""
        members: dict[str, bytes] = {}
        for camera in self._cameras:
            archive, name = self._pictures[camera.name], f"cam{camera.name}/{number:06d}"
            picture = archive.find(*(f"{name}.{kind}" for kind in _KINDS))
            if picture is None:
                continue
            kind, what = picture.rpartition(".")[2], f"{archive.path}: {picture}"
            member, data = picture_member(archive.read(picture), kind, camera, self._encoding, what)
            members |= {member: data, **self._mask(camera, f"{name}.png")}
        if not members:
            raise VrmmError(f"{self._source / 'image'} has no picture of frame {number}; leave it out")
        return members

    def _mask(self, camera: RawCamera, name: str) -> dict[str, bytes]:
        archive = self._parts[camera.name]
        if not archive.path.is_file() or archive.find(name) is None:
            return {}
        what = f"{archive.path}: {name}"
        member, data = mask_member(archive.read(name), camera, what, background={_BACKGROUND})
        return {member: data}


def pictured_cameras(source: Path) -> list[str]:
    """Cameras that have an archive of pictures."""
    return sorted(path.stem.removeprefix("cam") for path in (source / "image").glob("cam*.zip"))


def picture_size(source: Path) -> tuple[int, int]:
    """Width and height of the first picture of the first camera; every other one is held to it.

    Raises:
        VrmmError: no pictures.
    """
    for camera in pictured_cameras(source):
        archive = Archive(source / "image" / f"cam{camera}.zip")
        for name in archive.names():
            kind = name.rpartition(".")[2]
            if kind in _KINDS:
                return declared_size(archive.read(name), kind, f"{archive.path}: {name}")
    raise VrmmError(f"{source / 'image'} has no pictures (cam….zip); is the download complete?")
