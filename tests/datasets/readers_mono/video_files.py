"""Tiny videos and picture folders as phones and users make them."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.datasets.readers_mono.scene import Scene, write_picture

BT709, BT601 = 1, 5
_RATE = 25


def write_video(
    path: Path,
    picture: Callable[[int], np.ndarray],
    frames: int,
    *,
    codec: str = "libx264",
    matrix: int = BT709,
    transfer: int = 1,
    named: bool = True,
    options: dict[str, str] | None = None,
) -> None:
    """RGB or grey pictures in the fewest losses; groups of four frames with two that refer to later ones.

    ``named`` False leaves unsaid by which matrix colours were made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = picture(0).shape[:2]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=_RATE, options=options or {"crf": "1", "bf": "2", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        if named:
            context = stream.codec_context
            context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, transfer
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(_yuv(picture(number), matrix), format="yuv444p")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _yuv(rgb: np.ndarray, matrix: int) -> np.ndarray:
    """[3, H, W] of limited range (ITU-R BT.709 and BT.601)."""
    rgb = rgb if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, axis=2)
    red, blue = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114)}[matrix]
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    y = red * r + (1.0 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2.0 - 2.0 * blue), (r - y) / (2.0 - 2.0 * red)
    return np.rint(np.stack([16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr])).astype(np.uint8)


def turn(path: Path, quarters: int) -> None:
    """Tell players to turn the picture by so many quarters clockwise, as a phone does: the matrix in ``tkhd``."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4
    assert data[place] == 0, "version 0 of the box"
    start = place + 4 + 20 + 8 + 8  # ISO/IEC 14496-12, 8.3.2: times and number, reserved, layer to volume
    one, (a, b, c, d) = 1 << 16, {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarters]
    data[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def write_folder(folder: Path, scene: Scene, *, pattern: str = "IMG_{:04d}.png", first: int = 1) -> Path:
    """Pictures with masks and landmarks beside them."""
    for frame in range(scene.frames):
        path = folder / pattern.format(first + frame)
        write_picture(path, scene.stored(frame))
        write_picture(path.with_name(f"{path.stem}.mask.png"), scene.mask(frame))
        np.savez(path.with_name(f"{path.stem}.lmk.npz"), landmarks=landmarks(scene, frame))
    return folder


def landmarks(scene: Scene, frame: int) -> np.ndarray:
    """[68, 2] pixels; the first four are the known points."""
    points = np.random.default_rng(frame).uniform(5.0, 70.0, (68, 2))
    points[:4] = scene.pixels(frame)
    return points
