"""Any frame of a video file by its number, exactly: every player's seeking is only near."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from datasets.errors import VrmmError
from datasets.images import MAX_PIXELS

_HDR = {16: "PQ", 18: "HLG"}  # ITU-T H.273, TransferCharacteristics
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}  # MatrixCoefficients
_HD_HEIGHT = 720
_SCALER = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
"""Without these, ffmpeg's conversion to RGB is one level too dark on average."""
_NEAR = 64  # frames that are decoded on the way rather than sought


class VideoFile:
    """The first video track of a file, read with PyAV. Final; not for several threads at once.

    The table of frames is read when it is first asked for. One decoder stays open.

    Args:
        path: of the file.

    Attributes:
        size: width and height as a player shows it, pixels.

    Raises:
        VrmmError: no such file, no video in it, or one with high dynamic range.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder: _Decoder | None = None
        with _clear(path), _open(path) as container:
            stream = _stream(container, path)
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise VrmmError(f"{path} declares more than the {MAX_PIXELS} pixels that are unpacked")
            first = next(iter(container.decode(stream)), None)
            if first is None:
                raise VrmmError(f"{path} has no frame that can be decoded; copy it again from the source")
            _check_range(first, path)
            if stream.sample_aspect_ratio not in (None, 0, 1):
                raise VrmmError(f"{path} has pixels that are not square; re-encode it with ffmpeg -vf scale=iw*sar:ih")
            width, height = first.width, first.height
            self.size = (height, width) if _quarter_turns(first, path) % 2 else (width, height)

    @functools.cached_property
    def times(self) -> list[int]:
        """When each frame is shown, in the track's ticks, ascending."""
        with _clear(self._path), _open(self._path) as container:
            stream = _stream(container, self._path)
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            shown = [packet.pts for packet in packets]
        if None in shown or len(set(shown)) != len(shown):
            raise VrmmError(f"{self._path} does not say when each frame is shown; re-encode it as mp4 with ffmpeg")
        return sorted(shown)

    def read(self, number: int) -> UInt8[np.ndarray, "H W 3"]:
        """A frame's RGB values, upright.

        Raises:
            VrmmError: damage, or a size that changes on the way.
        """
        pixels = None
        if self._decoder is not None and self._decoder.is_near(number):
            with contextlib.suppress(VrmmError):  # damage on the way there is none of this frame's
                pixels = self._read(self._decoder, number)
        if pixels is None:
            self.close()
            with _clear(self._path, f"frame {number} of "):
                self._decoder = _Decoder(self._path, self.times, number)
            pixels = self._read(self._decoder, number)
        if (pixels.shape[1], pixels.shape[0]) != self.size:
            raise VrmmError(f"{self._path}: frame {number} is of another size than the first; cut the video there")
        return np.ascontiguousarray(pixels)

    def _read(self, decoder: "_Decoder", number: int) -> UInt8[np.ndarray, "H W 3"]:
        with _clear(self._path, f"frame {number} of "):
            frame = decoder.read(number)
            return np.rot90(decoder.rgb(frame), _quarter_turns(frame, self._path))

    def close(self) -> None:
        """Give back the decoder and the file."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


class _Decoder:
    """Frames from ``start`` on, in the order in which they are shown."""

    def __init__(self, path: Path, times: list[int], start: int) -> None:
        self._path, self._times, self._next = path, times, start
        self._container = _open(path)
        stream = _stream(self._container, path)
        self._container.seek(times[start], stream=stream, backward=True)
        self._frames = iter(self._container.decode(stream))
        self._graph: Any = None

    def is_near(self, number: int) -> bool:
        return 0 <= number - self._next < _NEAR

    def read(self, number: int) -> Any:
        wanted = self._times[number]
        for frame in self._frames:
            if frame.pts is not None and frame.pts >= wanted:
                if frame.pts > wanted or frame.is_corrupt:
                    break
                self._next = number + 1
                return frame
        raise VrmmError(f"frame {number} of {self._path} cannot be decoded; is the file whole?")

    def rgb(self, frame: Any) -> UInt8[np.ndarray, "H W 3"]:
        if self._graph is None:
            self._graph = _converter(frame)
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def close(self) -> None:
        self._container.close()


def _open(path: Path) -> Any:
    import av

    return av.open(str(path))


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise VrmmError(f"{path} has no video track")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # several processes read at once already
    stream.codec_context.options = {"err_detect": "explode"}  # or damage would show in all frames that refer to it
    return stream


@contextlib.contextmanager
def _clear(path: Path, part: str = "") -> Iterator[None]:
    """PyAV's errors as one that names the file."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise VrmmError(f"{part}{path} cannot be read as a video ({error.strerror}); is it whole?") from error


def _check_range(frame: Any, path: Path) -> None:
    if int(frame.color_trc) in _HDR:
        raise VrmmError(
            f"{path} has high dynamic range ({_HDR[int(frame.color_trc)]}), whose brightness depends on the screen; "
            "export it with standard dynamic range"
        )


def _quarter_turns(frame: Any, path: Path) -> int:
    """How often ``np.rot90`` turns a frame upright: phones film sideways and write down how to turn it."""
    turns, rest = divmod(round(frame.rotation), 90)
    if rest:
        raise VrmmError(f"{path} is turned by {frame.rotation} degrees; re-encode it upright, for example with ffmpeg")
    return turns % 4


def _converter(frame: Any) -> Any:
    """A filter graph to 8-bit RGB. What does not name its matrix has the one that is usual for its size."""
    from av.filter import Graph

    matrix = int(frame.colorspace)
    usual = "bt709" if min(frame.width, frame.height) >= _HD_HEIGHT else "smpte170m"
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    scale = graph.add("scale", f"{_SCALER}:in_color_matrix={_MATRICES.get(matrix, usual)}")
    last = [graph.add("format", "rgb24"), graph.add("buffersink")]
    for before, after in zip([source, scale, last[0]], [scale, *last], strict=True):
        before.link_to(after)
    graph.configure()
    return graph
