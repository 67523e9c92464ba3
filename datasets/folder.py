"""Our own capture on disk: ``capture.json`` and one folder a frame, each whole or absent."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.capture import Capture, CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, fsync_directory, read_json
from datasets.frames import LIGHT, META, frame_from_members, frame_members

CAPTURE = "capture.json"
FRAMES = "frames"


def write_capture_info(folder: Path, info: CaptureInfo) -> None:
    """Write ``capture.json``; the folder is made if it is absent."""
    atomic_write_json(Path(folder) / CAPTURE, info.to_json())


def read_capture_info(folder: Path) -> CaptureInfo:
    """Read ``capture.json``. Raises VrmmError when there is none or it is another schema."""
    path = Path(folder) / CAPTURE
    return CaptureInfo.from_json(read_json(path, "a capture description"), str(path))


def write_frame(folder: Path, frame: Frame, members: Mapping[str, bytes]) -> None:
    """Add a frame to the capture in ``folder``: it appears whole, replacing one of the same key.

    Args:
        folder: of the capture.
        frame: written as ``meta.json`` and ``light.npz``.
        members: the other files by extension, for example ``{"front.rgb.png": …}``.

    Raises:
        VrmmError: the disk is full or the folder cannot be written; no part of the frame is left.
    """
    frames = Path(folder) / FRAMES
    place, temporary = frames / frame.key, frames / f".{frame.key}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a writer that was killed
        temporary.mkdir(parents=True)
        for extension, data in {**frame_members(frame), **members}.items():
            _write_synced(temporary / extension, data)
        fsync_directory(temporary)
        if place.exists():
            shutil.rmtree(place)
        os.rename(temporary, place)
        fsync_directory(frames)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise VrmmError(
            f"cannot write frame {frame.key} to {frames}: {error.strerror or error} (free some space or choose "
            "another folder)"
        ) from error


class FolderCapture(Capture):
    """A capture written by ``write_capture_info`` and ``write_frame``. Final.

    Raises:
        VrmmError: ``folder`` holds no capture.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self._info = read_capture_info(self._folder)
        self._frames: list[Frame] | None = None

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def has_frame(self, key: str) -> bool:
        """The frame of that key is complete on disk."""
        return (self._folder / FRAMES / key).is_dir()

    def frames(self) -> Sequence[Frame]:
        """All frames by subject (in the order of ``info.subjects``), sequence and index; read once."""
        if self._frames is None:
            number = {subject: i for i, subject in enumerate(self._info.subjects)}
            frames = [self._read(place) for place in self._places()]
            for frame in frames:
                if frame.subject not in number:
                    raise VrmmError(f"frame {frame.key} is of a subject that {self._folder / CAPTURE} does not list")
            self._frames = sorted(frames, key=lambda frame: (number[frame.subject], frame.sequence, frame.index))
        return self._frames

    def members(self, frame: Frame) -> dict[str, bytes]:
        place = self._folder / FRAMES / frame.key
        if not place.is_dir():
            raise VrmmError(f"{self._folder} has no frame {frame.key}")
        names = sorted(path.name for path in place.iterdir())
        return {name: _read_bytes(place / name) for name in names if name not in (META, LIGHT)}

    def _places(self) -> list[Path]:
        frames = self._folder / FRAMES
        return [place for place in frames.iterdir() if place.name[0] != "."] if frames.is_dir() else []

    def _read(self, place: Path) -> Frame:
        frame = frame_from_members({name: _read_bytes(place / name) for name in (META, LIGHT)}, f"frame {place}")
        if frame.key != place.name:
            raise VrmmError(f"{place} describes frame {frame.key}; rename the folder to that key")
        return frame


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VrmmError(f"cannot read {path}: {error.strerror}; copy the frame again from the source") from error
