"""Pictures to an mp4 that every browser plays: H.264, 4:2:0, index in front."""

import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes

FRAMES_PER_SECOND = 24
QUALITY = 20
"""x264's constant rate factor: 18 is hard to tell from the original, 28 is visibly worse."""
LARGEST_DENOMINATOR = 1001
"""Rates such as 24000 / 1001 are kept exactly."""


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float = FRAMES_PER_SECOND) -> None:
    """Write the frames as an mp4, whole or not at all.

    Args:
        path: of the file.
        frames: display-encoded pictures of one even size.
        fps: frames a second.

    Raises:
        VrmmError: no frames, an odd size, or frames of different sizes.
    """
    with tempfile.TemporaryDirectory() as folder:  # moving the index to the front needs a file
        made = Path(folder) / "video.mp4"
        with VideoEncoder(made, fps) as encoder:
            for picture in frames:
                encoder.add(picture)
        atomic_write_bytes(path, made.read_bytes())


class VideoEncoder:
    """Writes an mp4 picture by picture; the file can be played once ``with`` is left. Final.

    Args:
        path: of the file, which may be seen half-written: the caller moves it into place.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        import av

        self._size: tuple[int, ...] | None = None
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        # One thread: with more, the file would depend on how many cores there are.
        options = {"crf": str(QUALITY), "preset": "slow", "threads": "1"}
        rate = Fraction(fps).limit_denominator(LARGEST_DENOMINATOR)
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> "VideoEncoder":
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            if kind is None:
                if self._size is None:
                    raise VrmmError("a video needs at least one frame")
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next picture. Raises VrmmError for an odd size, or another one than the first picture's."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if self._size is None:
            check_even(*picture.shape[:2])
            self._size = picture.shape
            self._stream.height, self._stream.width = picture.shape[:2]
            # Browsers take video without these marks for television's colours and show it too contrasty or dull.
            self._stream.codec_context.colorspace = Colorspace.ITU709
            self._stream.codec_context.color_range = ColorRange.MPEG
        if picture.shape != self._size:
            raise VrmmError(f"a video's frames must have one size, not {picture.shape[:2]} after {self._size[:2]}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        self._container.mux(self._stream.encode(frame))


def check_even(height: int, width: int) -> None:
    """Raises VrmmError where a size is odd, which 4:2:0 cannot hold."""
    if height % 2 or width % 2:
        raise VrmmError(f"a video's frames must have an even size, not {width}×{height}")
