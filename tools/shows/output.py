"""Where a show goes: mp4, gif, numbered PNGs, contact sheet, linear EXRs; each whole or absent."""

import dataclasses
import itertools
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import fsync_directory, replace_folder
from prior.pictures import Strip, draw_sheet, png_bytes
from prior.preview import spread
from tools.video import VideoEncoder, check_even

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_NAME = re.compile(r"frame_\d{6}\.(png|exr)")
SHEET_ACROSS = 6
GIF_COLOURS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One frame of a show.

    Attributes:
        display: as people see it.
        linear: [4, H, W] linear radiance, premultiplied, and coverage.
        caption: for contact sheets.
    """

    display: UInt8[np.ndarray, "H W 3"]
    linear: Float[Tensor, "4 H W"]
    caption: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """What all outputs of a show must know.

    Attributes:
        frames: how many pictures will come.
        fps: pictures a second.
        cells: pictures on a contact sheet, at most.
    """

    frames: int
    fps: float
    cells: int = 12


class Sink(ABC):
    """One output. ``add`` and ``finish`` write to ``made``, which lies beside ``path`` until everything is done."""

    def __init__(self, path: Path, format: Format) -> None:
        self.path, self.format = path, format
        self.made = Path()

    def check(self, height: int, width: int) -> None:  # noqa: B027 - most outputs take every size
        """Raises VrmmError for a size of pictures that this output cannot hold."""

    def open(self, made: Path) -> None:
        """Begin to write to ``made``."""
        self.made = made

    @abstractmethod
    def add(self, index: int, picture: Picture) -> None:
        """The next picture."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is still missing."""

    def abandon(self) -> None:  # noqa: B027 - most outputs hold nothing open
        """Let go of what is open: the show was interrupted."""


class Mp4(Sink):
    """H.264 that browsers play. Final."""

    def check(self, height: int, width: int) -> None:
        check_even(height, width)

    def open(self, made: Path) -> None:
        super().open(made)
        self._encoder = VideoEncoder(made, self.format.fps)

    def add(self, index: int, picture: Picture) -> None:
        self._encoder.add(picture.display)

    def finish(self) -> None:
        self._encoder.__exit__(None)

    def abandon(self) -> None:
        self._encoder.__exit__(KeyboardInterrupt)


class Gif(Sink):
    """An endless animation; its clock ticks in hundredths of a second. Final."""

    def open(self, made: Path) -> None:
        super().open(made)
        self._pictures: list[Image] = []

    def add(self, index: int, picture: Picture) -> None:
        from PIL import Image

        image = Image.fromarray(picture.display)
        self._pictures.append(image.quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT))

    def finish(self) -> None:
        ticks = [round(100.0 * index / self.format.fps) for index in range(len(self._pictures) + 1)]
        durations = [10 * max(2, after - before) for before, after in itertools.pairwise(ticks)]
        first, *rest = self._pictures
        first.save(self.made, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, disposal=1)


class Sheet(Sink):
    """Pictures spread over the show, on one PNG. Final."""

    def open(self, made: Path) -> None:
        super().open(made)
        self._wanted = set(spread(self.format.frames, self.format.cells))
        self._strips: list[Strip] = []

    def add(self, index: int, picture: Picture) -> None:
        if index in self._wanted:
            self._strips.append(Strip(pictures=[picture.display], caption=picture.caption))

    def finish(self) -> None:
        height = max(strip.pictures[0].shape[0] for strip in self._strips)
        self.made.write_bytes(png_bytes(draw_sheet([""], self._strips, across=SHEET_ACROSS, cell=min(height, 320))))


class Folder(Sink):
    """One file a picture. Replaces a folder only where nothing but such pictures is in it."""

    def check(self, height: int, width: int) -> None:
        if not self.path.exists():
            return
        other = [entry.name for entry in self.path.iterdir() if not PICTURE_NAME.fullmatch(entry.name)]
        if other:
            raise VrmmError(f"{self.path} holds {other[0]}, which is no picture of a show; choose another folder")

    def open(self, made: Path) -> None:
        super().open(made)
        made.mkdir()

    def finish(self) -> None:
        """Every picture is on disk already."""


class Pngs(Folder):
    """``frame_000000.png``, … Final."""

    def add(self, index: int, picture: Picture) -> None:
        (self.made / f"frame_{index:06d}.png").write_bytes(png_bytes(picture.display))


class Exrs(Folder):
    """``frame_000000.exr``, …: linear radiance, premultiplied, and alpha, 32-bit floats. Final."""

    def add(self, index: int, picture: Picture) -> None:
        from datasets.lightstage.bitmaps import write_bitmap

        write_bitmap(self.made / f"frame_{index:06d}.exr", picture.linear.permute(1, 2, 0).numpy())


class Outputs:
    """All outputs of one show. They appear together when ``with`` is left, or, after an error, not at all. Final.

    Raises:
        VrmmError: a kind of file that there is none of, or one output twice.
    """

    def __init__(self, paths: Sequence[Path], format: Format, *, exr: Path | None = None) -> None:
        self._sinks = [_KINDS[_kind(path)](path, format) for path in paths]
        if exr is not None:
            self._sinks.append(Exrs(exr, format))
        places = [sink.path.resolve() for sink in self._sinks]
        twice = [path for path in places if places.count(path) > 1]
        if twice:
            raise VrmmError(f"{twice[0]} is named twice as an output; name another file or folder")
        if not places:
            raise VrmmError("there is nothing to write to; name a file or a folder with --out")
        self._index = 0

    def check(self, height: int, width: int) -> None:
        """Raises VrmmError, before anything is rendered, where an output cannot be written."""
        for sink in self._sinks:
            if isinstance(sink, Folder) == sink.path.is_file() and sink.path.exists():
                raise VrmmError(f"{sink.path} is in the way: a {'file' if sink.path.is_file() else 'folder'}")
            sink.check(height, width)

    def __enter__(self) -> "Outputs":
        self._temporary: list[Path] = []
        opened = []
        try:
            for sink in self._sinks:
                sink.open(self._beside(sink.path) / sink.path.name)
                opened.append(sink)
        except BaseException as error:
            self._sinks = opened
            self.__exit__(type(error), error, None)
            raise
        return self

    def add(self, picture: Picture) -> None:
        """The next picture."""
        try:
            for sink in self._sinks:
                sink.add(self._index, picture)
        except OSError as error:
            raise VrmmError(f"cannot write the show: {error.strerror or error} (free some space)") from error
        self._index += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                for sink in self._sinks:
                    sink.finish()
                for sink in self._sinks:
                    _into_place(sink.made, sink.path)
            else:
                for sink in self._sinks:
                    sink.abandon()
        finally:
            for folder in self._temporary:
                shutil.rmtree(folder, ignore_errors=True)

    def _beside(self, path: Path) -> Path:
        """A hidden folder on the disk of ``path``, so that a rename moves the output into place."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        except OSError as error:
            raise VrmmError(f"cannot write {path}: {error.strerror or error} (choose another folder)") from error
        self._temporary.append(folder)
        return folder


def _into_place(made: Path, path: Path) -> None:
    if made.is_dir():
        os.chmod(made, 0o755)
        replace_folder(made, path)
        return
    os.chmod(made, 0o644)
    os.replace(made, path)
    fsync_directory(path.parent)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        raise VrmmError(
            f"{path}: there is no output of kind {suffix}; use .mp4, .gif, .png (contact sheet), or a folder (numbered "
            "PNGs)"
        )
    return suffix


_KINDS: dict[str, type[Sink]] = {".mp4": Mp4, ".gif": Gif, ".png": Sheet, "": Pngs}
