"""Where a video's frames come from: a video file or a folder of pictures."""

import dataclasses
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.files import sha256_of
from datasets.images import decode_mask, linearise
from fitting.landmarks import Picture, landmark_file
from fitting.picture import SUFFIXES as PICTURE_SUFFIXES
from fitting.picture import read_picture
from fitting.recipe import VideoConfig

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
SRGB = ImageEncoding(transfer="srgb", bits=8)
HD_HEIGHT = 720
"""Videos that do not name their colour matrix use BT.709 from here on and BT.601 below."""
_UNSPECIFIED, _BT601, _BT709 = 2, 5, 1  # MatrixCoefficients of ITU-T H.273
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One frame.

    Attributes:
        name: for errors and reports.
        picture: upright, and where landmarks of it may lie.
        linear: [H, W, 3] linear RGB.
        mask: [H, W] coverage of the head, or None.
    """

    name: str
    picture: Picture
    linear: Float[np.ndarray, "H W 3"]
    mask: Float[np.ndarray, "H W"] | None


class FrameSource(ABC):
    """The frames of a video that are used, numbered from 0.

    Attributes:
        path: of the file or folder.
        fps: of these frames.
        expected: how many there should be, for progress.
    """

    path: Path
    fps: float
    expected: int

    @abstractmethod
    def frames(self, start: int) -> Iterator[VideoFrame]:
        """The frames from number ``start`` on, one in memory at a time.

        Raises:
            VrmmError: damage, or a frame of another size than the first.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes with the frames, their masks and the landmarks beside them."""


def is_video(path: Path) -> bool:
    """A video file, by its ending, or a folder."""
    return Path(path).is_dir() or Path(path).suffix.lower() in SUFFIXES


def open_video(path: Path, config: VideoConfig) -> FrameSource:
    """The frames of a video file or of a folder of pictures.

    Raises:
        VrmmError: there is no video, or none that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise VrmmError(f"video {path} does not exist")
    return PictureFolder(path, config) if path.is_dir() else VideoFile(path, config)


class PictureFolder(FrameSource):
    """Pictures in the order of the numbers in their names; ``{stem}.mask.png`` and landmarks lie beside them. Final.

    Raises:
        VrmmError: there are none.
    """

    def __init__(self, path: Path, config: VideoConfig) -> None:
        self.path, self.fps = path, config.fps / config.every
        pictures = [
            file
            for file in path.iterdir()
            if file.suffix.lower() in PICTURE_SUFFIXES and not file.stem.endswith(".mask")
        ]
        self._files = sorted(pictures, key=lambda file: _natural(file.name))[:: config.every]
        self.expected = len(self._files)
        if not self._files:
            raise VrmmError(
                f"{path} holds no pictures; name a video, or a folder of {', '.join(PICTURE_SUFFIXES)} files"
            )

    def frames(self, start: int) -> Iterator[VideoFrame]:
        shape = read_picture(self._files[0]).stored.shape if start > 0 else None
        for file in self._files[start:]:
            read = read_picture(file)
            shape = shape or read.stored.shape
            _check_size(read.stored.shape, shape, str(file))
            yield VideoFrame(
                name=file.name,
                picture=Picture(path=file, rgb=read.rgb),
                linear=read.linear,
                mask=_mask_beside(file, read.alpha, shape),
            )

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self._files:
            beside = [file.with_name(f"{file.stem}.mask.png"), landmark_file(file)]
            for part in (file, *beside):
                if part is not None and part.is_file():
                    digest.update(f"{part.name} {sha256_of(part)}\n".encode())
        return digest.hexdigest()


class VideoFile(FrameSource):
    """The first video track of a file; ``{stem}.mask.mp4`` (white where the head is) lies beside it. Final.

    Raises:
        VrmmError: no video track, or one of high dynamic range, odd pixels or unknown rate.
    """

    def __init__(self, path: Path, config: VideoConfig) -> None:
        self.path, self._every = path, config.every
        self._masks = next((file for file in _mask_videos(path) if file.is_file()), None)
        with _Decoder(path) as decoder:
            first = next(decoder.frames(), None)
            if first is None:
                raise VrmmError(f"{path} has no frame that can be read; copy it again from the source")
            self._declared = decoder.declared
            self.fps = decoder.rate / config.every
        self.expected = -(-max(self._declared, 1) // config.every)

    def frames(self, start: int) -> Iterator[VideoFrame]:
        masks = None if self._masks is None else _mask_frames(self._masks)
        shape, count = None, 0
        with _Decoder(self.path) as decoder:
            for number, frame in enumerate(decoder.frames()):
                count = number + 1
                coverage = None if masks is None else next(masks, None)
                shape = shape or (frame.height, frame.width)
                _check_size((frame.height, frame.width), shape, f"{self.path} frame {number}")
                if number % self._every or number < start * self._every:
                    continue
                rgb = _rgb(frame, self.path)
                if self._masks is not None and (coverage is None or coverage.shape != rgb.shape[:2]):
                    raise VrmmError(f"{self._masks} has fewer frames than {self.path}, or another size; make it again")
                picture = Picture(path=self.path, rgb=rgb, frame=number)
                name = f"{self.path.name} frame {number}"
                yield VideoFrame(name=name, picture=picture, linear=linearise(rgb, SRGB), mask=coverage)
        if count < self._declared:
            raise VrmmError(
                f"{self.path} says that it has {self._declared} frames, but only {count} can be read; is it whole?"
            )

    def fingerprint(self) -> str:
        parts = [self.path, self._masks, landmark_file(self.path)]
        return "+".join(sha256_of(part) for part in parts if part is not None)


class _Decoder:
    """An open video file, whose every error names it."""

    def __init__(self, path: Path) -> None:
        import av
        from av.error import FFmpegError

        self._path, self._error = path, FFmpegError
        try:
            self._container = av.open(str(path))
        except (FFmpegError, OSError) as error:
            raise VrmmError(f"{path} is not a video that can be read: {error}") from error
        if not self._container.streams.video:
            self._container.close()
            raise VrmmError(f"{path} has no video track")
        stream = self._container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}  # or damage would pass as a grey smear
        self._stream, self.declared = stream, int(stream.frames)

    @property
    def rate(self) -> float:
        """Frames a second. Raises VrmmError where the file does not say."""
        if not self._stream.average_rate:
            raise VrmmError(f"{self._path} does not say how many frames a second it has; convert it to mp4")
        return float(self._stream.average_rate)

    def frames(self) -> Iterator[Any]:
        number = 0
        try:
            for frame in self._container.decode(self._stream):
                if number == 0:
                    self._check(frame)
                if frame.is_corrupt:
                    raise VrmmError(f"{self._path} is damaged at frame {number}; copy it again from the source")
                yield frame
                number += 1
        except self._error as error:
            raise VrmmError(f"{self._path} cannot be read at frame {number}: {error}; is it whole?") from error

    def _check(self, frame: Any) -> None:
        if int(frame.color_trc) in _HDR:
            raise VrmmError(
                f"{self._path} has high dynamic range ({_HDR[int(frame.color_trc)]}); export it with standard range"
            )
        if self._stream.sample_aspect_ratio not in (None, 0, 1):
            raise VrmmError(f"{self._path} has pixels that are not square; convert it with ffmpeg -vf scale=iw*sar:ih")
        if round(frame.rotation) % 90:
            raise VrmmError(f"{self._path} is turned by {frame.rotation} degrees; convert it to an upright one")

    def __enter__(self) -> "_Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()


def _rgb(frame: Any, path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Upright sRGB values."""
    matrix = int(frame.colorspace)
    if matrix == _UNSPECIFIED:
        matrix = _BT709 if min(frame.height, frame.width) >= HD_HEIGHT else _BT601
    try:
        pixels = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
    except (ValueError, OSError) as error:
        raise VrmmError(f"{path} has colours that cannot be converted to RGB: {error}") from error
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation) // 90))


def _mask_frames(path: Path) -> Iterator[Float[np.ndarray, "H W"]]:
    with _Decoder(path) as decoder:
        for frame in decoder.frames():
            yield _rgb(frame, path).mean(axis=2, dtype=np.float32) / np.float32(255.0)


def _mask_videos(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}.mask{suffix}") for suffix in (path.suffix, *SUFFIXES)]


def _mask_beside(file: Path, alpha: np.ndarray | None, shape: tuple[int, ...]) -> Float[np.ndarray, "H W"] | None:
    path = file.with_name(f"{file.stem}.mask.png")
    if not path.is_file():
        return alpha if alpha is not None and alpha.min() < 0.5 else None
    mask = decode_mask(path.read_bytes(), str(path))
    _check_size(mask.shape, shape, str(path))
    return mask


def _check_size(found: tuple[int, ...], wanted: tuple[int, ...], what: str) -> None:
    if found[:2] != wanted[:2]:
        raise VrmmError(
            f"{what} is {found[1]}×{found[0]} pixels, but the first frame {wanted[1]}×{wanted[0]}; make them equal"
        )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which frame9 comes before frame10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
