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


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: int = FRAMES_PER_SECOND) -> None:
    """Write the frames as an mp4, whole or not at all.

    Args:
        path: of the file.
        frames: display-encoded pictures of one even size.
        fps: frames a second.

    Raises:
        VrmmError: no frames, an odd size, or frames of different sizes.
    """
    atomic_write_bytes(path, video_bytes(frames, fps))


def video_bytes(frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: int = FRAMES_PER_SECOND) -> bytes:
    """As ``write_video``, in memory."""
    with tempfile.TemporaryDirectory() as folder:  # moving the index to the front needs a file
        path = Path(folder) / "video.mp4"
        _encode(path, frames, fps)
        return path.read_bytes()


def _encode(path: Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: int) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    size: tuple[int, ...] | None = None
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(QUALITY), "preset": "slow"})
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            if size is None:
                size = picture.shape
                _check_even(picture)
                stream.height, stream.width = picture.shape[:2]
                # Browsers take video without these marks for television's colours and show it too contrasty or dull.
                stream.codec_context.colorspace = Colorspace.ITU709
                stream.codec_context.color_range = ColorRange.MPEG
            if picture.shape != size:
                raise VrmmError(f"a video's frames must have one size, not {picture.shape[:2]} after {size[:2]}")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            container.mux(stream.encode(frame))
        if size is None:
            raise VrmmError("a video needs at least one frame")
        container.mux(stream.encode(None))


def _check_even(picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        raise VrmmError(f"a video's frames must have an even size, not {width}×{height}")
