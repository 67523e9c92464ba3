"""Moving pictures as users have them: a video file, or a folder of numbered pictures, upright and by frame number."""

import io
import re
from abc import ABC, abstractmethod
from pathlib import Path

from datasets.errors import VrmmError
from datasets.images import declared_size
from datasets.readers.paths import read_bytes
from datasets.readers.tracked import Picture
from datasets.readers.videofile import VideoFile

VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
PICTURES = (".png", ".jpg", ".jpeg", ".avif")
MASK = ".mask"
"""Ending of a mask's name before its suffix, beside the picture's."""

_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4 A


class Clip(ABC):
    """Pictures of one size by frame number. Abstract."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height, upright, pixels."""

    @property
    @abstractmethod
    def numbers(self) -> list[int]:
        """Of all frames, ascending. Raises VrmmError for a file that is damaged."""

    @abstractmethod
    def picture(self, number: int) -> Picture:
        """A frame, upright. Raises VrmmError where it cannot be read."""

    @abstractmethod
    def file(self, number: int) -> Path | None:
        """The frame's own file, if it has one."""


def open_clip(path: Path, ending: str = "") -> Clip:
    """The clip in a file or folder.

    Args:
        path: of the file or folder.
        ending: what the names of a folder's pictures end with before their suffix: ``MASK``, or nothing for the others.

    Raises:
        VrmmError: no such file, one that is no video, or a folder without pictures.
    """
    return PictureFolder(path, ending) if path.is_dir() else VideoClip(path)


def has_pictures(folder: Path, ending: str = "") -> bool:
    """Whether a folder holds pictures whose names end so."""
    return folder.is_dir() and any(_is_picture(path, ending) for path in folder.iterdir())


class PictureFolder(Clip):
    """PNG, JPEG or AVIF pictures, numbered by the last number in their names, or in the order of the names. Final."""

    def __init__(self, folder: Path, ending: str = "") -> None:
        files = sorted(path for path in folder.iterdir() if _is_picture(path, ending))
        if not files:
            raise VrmmError(f"{folder} holds no pictures ({', '.join(PICTURES)})")
        found = [_NUMBER.search(path.stem.removesuffix(ending)) for path in files]
        numbers = [int(match[1]) for match in found if match is not None]
        if len(set(numbers)) < len(files):
            numbers = list(range(len(files)))
        self._files = dict(sorted(zip(numbers, files, strict=True)))
        first = self.picture(self.numbers[0])
        self._size = declared_size(first.data, first.extension, first.what)

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    def numbers(self) -> list[int]:
        return list(self._files)

    def picture(self, number: int) -> Picture:
        """The original bytes, unless they lie on their side."""
        path = self._files[number]
        data, extension = read_bytes(path), path.suffix[1:].lower()
        turned = _turned_upright(data, str(path)) if extension in ("jpg", "jpeg") else None
        if turned is not None:
            return Picture(data=turned, extension="png", what=str(path))
        return Picture(data=data, extension={"jpeg": "jpg"}.get(extension, extension), what=str(path))

    def file(self, number: int) -> Path | None:
        return self._files[number]


class VideoClip(Clip):
    """The frames of a video file, counted from 0. Final."""

    def __init__(self, path: Path) -> None:
        self._video = VideoFile(path)
        self.path = path

    @property
    def size(self) -> tuple[int, int]:
        return self._video.size

    @property
    def numbers(self) -> list[int]:
        return list(range(len(self._video.times)))

    def picture(self, number: int) -> Picture:
        """As PNG, which keeps what the video's codec has kept."""
        what = f"{self.path}: frame {number}"
        return Picture(data=_png(self._video.read(number)), extension="png", what=what)

    def file(self, number: int) -> Path | None:
        return None


def _is_picture(path: Path, ending: str) -> bool:
    """``front.png`` for no ending, ``front.mask.png`` for ``.mask``; hidden files are none."""
    fits = path.stem.endswith(ending) if ending else not path.stem.endswith(MASK)
    return fits and path.name[0] != "." and path.suffix.lower() in PICTURES and path.is_file()


def _turned_upright(data: bytes, what: str) -> bytes | None:
    """A JPEG file that EXIF turns or mirrors, as the PNG that a viewer shows; None where it is upright."""
    from PIL import Image, ImageOps

    declared_size(data, "jpg", what)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.getexif().get(_ORIENTATION, 1) == 1:
                return None
            upright = io.BytesIO()
            ImageOps.exif_transpose(picture).save(upright, "PNG", compress_level=1)
    except (OSError, ValueError, SyntaxError) as error:
        raise VrmmError(f"{what} cannot be decoded as jpg ({error}); copy it again from the source") from error
    return upright.getvalue()


def _png(pixels) -> bytes:
    import cv2

    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
