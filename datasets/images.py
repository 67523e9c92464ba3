"""Stored images to linear radiance and back, and the display encoding of pictures and metrics."""

import functools
import struct
import threading
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from datasets.avif import avif_size, decode_avif
from datasets.capture import ImageEncoding
from datasets.errors import VrmmError

DISPLAY_GAMMA = 2.2
_SCRATCH = threading.local()
MAX_PIXELS = 1 << 27  # 134 megapixels; a file that declares more is refused before it is unpacked


def encode_radiance(image: Float[np.ndarray, "H W 3"], encoding: ImageEncoding) -> bytes:
    """Linear RGB radiance as a PNG that ``decode_radiance`` undoes up to rounding to the stored bits.

    Values outside the range that ``encoding`` can store are clipped to it.

    Raises:
        VrmmError: ``encoding`` is not one that a PNG can hold, or the image holds NaN.
    """
    _check_encoding(encoding)
    if not np.isfinite(image).all():
        raise VrmmError("an image with NaN or infinite radiance cannot be stored; mend the render or the source")
    linear = np.asarray(image, np.float64) @ np.linalg.inv(np.array(encoding.matrix)).T
    linear = linear / (np.array(encoding.gain) * encoding.white)
    fraction = _TRANSFERS[encoding.transfer][0](linear) + np.array(encoding.black_level)
    stored = np.rint(np.clip(fraction, 0.0, 1.0) * _full_scale(encoding))
    return _encode_png(stored.astype(np.uint8 if encoding.bits == 8 else np.uint16)[..., ::-1])


def decode_radiance(
    data: bytes, extension: str, encoding: ImageEncoding, what: str = "an image"
) -> Float[np.ndarray, "H W 3"]:
    """Stored bytes to float32 linear RGB radiance, as documented in ``ImageEncoding``.

    Args:
        data: the file's bytes.
        extension: of the file, for example ``"png"`` or ``"cam03.rgb.jpg"``.
        what: names the image in errors.

    Raises:
        VrmmError: bytes that are no such image, a bit depth other than the encoding's, or a declared size
            above ``MAX_PIXELS``.
    """
    return linearise(decode_stored(data, extension, encoding, what), encoding)


def decode_stored(
    data: bytes, extension: str, encoding: ImageEncoding, what: str = "an image", *, reduction: int = 1
) -> np.ndarray:
    """The stored RGB values [H, W, 3], uint8 or uint16, before ``linearise``. Raises as ``decode_radiance``.

    ``reduction`` 2, 4 or 8 (only of a file that ``can_reduce``) decodes that many times fewer rows and columns,
    rounded up, out of the low frequencies of every block. The averages are of stored values, before ``linearise``.
    """
    import cv2

    _check_encoding(encoding)
    size = {
        1: 0,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }[reduction]  # bits of their own: it is the next flag that says that the picture is in colour
    flags = size | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    avif = _suffix(extension) == "avif"
    stored = _decode_avif(data, what) if avif else _decode(data, extension, flags, what, reduction)
    if stored.dtype != (np.uint8 if encoding.bits <= 8 else np.uint16):
        raise VrmmError(
            f"{what} stores {stored.dtype.itemsize * 8}-bit values but its capture declares {encoding.bits} bits; "
            "correct encoding.bits in capture.json"
        )
    return stored


def can_reduce(extension: str) -> bool:
    """Files of this kind can be decoded at a reduced size in less time."""
    return _suffix(extension) in ("jpg", "jpeg")


def declared_size(data: bytes, extension: str, what: str = "an image") -> tuple[int, int]:
    """Width and height that a stored image declares, read from its header.

    Raises:
        VrmmError: bytes that are no such image, or a declared size above ``MAX_PIXELS``.
    """
    suffix = _suffix(extension)
    if suffix not in _DECLARED_SIZES:
        raise VrmmError(f"{what} is a .{suffix} file; readable are {', '.join(_DECLARED_SIZES)}")
    width, height = _DECLARED_SIZES[suffix](data, what)
    if width * height > MAX_PIXELS:
        raise VrmmError(f"{what} declares {width}x{height} pixels, more than the {MAX_PIXELS} that are unpacked")
    return width, height


def linearise(stored: np.ndarray, encoding: ImageEncoding) -> Float[np.ndarray, "H W 3"]:
    """Stored RGB values [..., 3] (integers or their averages) to float32 linear radiance."""
    linear = _look_up(stored, encoding) if _is_looked_up(stored, encoding) else _channels(stored, encoding)
    matrix = np.array(encoding.matrix, np.float32)
    return linear if np.array_equal(matrix, np.eye(3)) else linear @ matrix.T


def linearise_planes(stored: np.ndarray, encoding: ImageEncoding, out: Float[np.ndarray, "3 H W"]) -> None:
    """``linearise`` of stored values [H, W, 3] into ``out``, C-contiguous, colour by colour; the same numbers."""
    import cv2

    if not _is_looked_up(stored, encoding) or not np.array_equal(encoding.matrix, np.eye(3)):
        out[:] = linearise(stored, encoding).transpose(2, 0, 1)
        return
    tables = _channel_tables(encoding)
    for channel, plane in enumerate(cv2.split(stored, _planes(stored))):
        if stored.dtype == np.uint8:
            cv2.LUT(plane, tables[channel], dst=out[channel])
        else:
            np.take(tables[channel], np.asarray(plane, np.uint16), out=out[channel], mode="clip")  # "raise" would copy


def _planes(stored: np.ndarray) -> list[np.ndarray]:
    """Three planes of an image's size for this thread to fill: fresh memory costs more than filling it."""
    held = getattr(_SCRATCH, "planes", None)
    if held is None or (held.shape[1:], held.dtype) != (stored.shape[:2], stored.dtype):
        held = _SCRATCH.planes = np.empty((3, *stored.shape[:2]), stored.dtype)
    return list(held)


def _is_looked_up(stored: np.ndarray, encoding: ImageEncoding) -> bool:
    """Whether a table answers faster than arithmetic: [H, W, 3] integers, few or under a transfer function."""
    return stored.ndim == 3 and (
        stored.dtype == np.uint8 or (stored.dtype == np.uint16 and encoding.transfer != "linear")
    )


def _look_up(stored: np.ndarray, encoding: ImageEncoding) -> Float[np.ndarray, "H W 3"]:
    import cv2

    tables = _channel_tables(encoding)
    if stored.dtype == np.uint8:
        return cv2.LUT(stored, np.stack(tables, axis=1)[None])
    planes = zip(tables, cv2.split(stored), strict=True)
    return cv2.merge([np.take(table, np.asarray(plane, np.uint16), mode="clip") for table, plane in planes])


@functools.lru_cache(16)
def _channel_tables(encoding: ImageEncoding) -> tuple[Float[np.ndarray, "values"], ...]:
    """What ``_channels`` gives for every integer that is stored, for red, green and blue."""
    values = np.arange(256 if encoding.bits <= 8 else 65536).astype(np.uint8 if encoding.bits <= 8 else np.uint16)
    table = _channels(np.repeat(values[:, None], 3, axis=1), encoding)
    return tuple(np.ascontiguousarray(table[:, channel]) for channel in range(3))


def _channels(stored: np.ndarray, encoding: ImageEncoding) -> Float[np.ndarray, "..."]:
    """``linearise`` without the matrix."""
    fraction = np.divide(stored, np.float32(_full_scale(encoding)), dtype=np.float32)
    if any(encoding.black_level):
        fraction -= np.array(encoding.black_level, np.float32)
    linear = _TRANSFERS[encoding.transfer][1](fraction)
    scale = np.array(encoding.gain, np.float32) * np.float32(encoding.white)
    return linear * scale if (scale != 1.0).any() else linear


def encode_mask(mask: Float[np.ndarray, "H W"]) -> bytes:
    """Coverage in [0, 1] as an 8-bit grey PNG."""
    return _encode_png(np.rint(np.clip(mask, 0.0, 1.0) * 255.0).astype(np.uint8))


def decode_mask(data: bytes, what: str = "a mask") -> Float[np.ndarray, "H W"]:
    """An 8- or 16-bit PNG to float32 coverage in [0, 1]. Raises VrmmError for bytes that are no PNG."""
    return coverage(decode_stored_mask(data, what))


def decode_stored_mask(data: bytes, what: str = "a mask", extension: str = "png") -> np.ndarray:
    """The stored values [H, W] of a mask, uint8 or uint16, before ``coverage``. Raises as ``decode_mask``."""
    import cv2

    return _decode(data, extension, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION, what)


def coverage(stored: np.ndarray) -> Float[np.ndarray, "H W"]:
    """Stored mask values (uint8 or uint16) as float32 in [0, 1]."""
    return np.divide(stored, np.float32(np.iinfo(stored.dtype).max), dtype=np.float32)


def display(linear: np.ndarray) -> np.ndarray:
    """The display encoding of every picture and image metric: ``clip(x, 0, 1) ** (1 / 2.2)``, any shape."""
    return np.clip(linear, 0.0, 1.0) ** (1.0 / DISPLAY_GAMMA)


def to_display(linear: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """``display`` rounded to 8 bits, ready to be saved as a picture."""
    return np.rint(display(linear) * 255.0).astype(np.uint8)


def encode_picture(linear: Float[np.ndarray, "H W 3"]) -> bytes:
    """Linear RGB radiance as an 8-bit PNG picture to look at, in the display encoding."""
    return _encode_png(to_display(linear)[..., ::-1])


def _srgb_encode(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _srgb_decode(encoded: np.ndarray) -> np.ndarray:
    high = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, encoded / 12.92, high)


_TRANSFERS = {"linear": (lambda x: x, lambda x: x), "srgb": (_srgb_encode, _srgb_decode)}


def _full_scale(encoding: ImageEncoding) -> float:
    return float(2**encoding.bits - 1)


def _check_encoding(encoding: ImageEncoding) -> None:
    if encoding.transfer not in _TRANSFERS:
        raise VrmmError(f"encoding.transfer {encoding.transfer!r} is unknown; use one of {', '.join(_TRANSFERS)}")
    if not 8 <= encoding.bits <= 16:
        raise VrmmError(f"encoding.bits is {encoding.bits}; stored images have 8 to 16 bits")


def _encode_png(values: np.ndarray) -> bytes:
    """Bytes of a PNG; colour channels in OpenCV's BGR order."""
    import cv2

    # Level 1 is several times faster than the default and a few per cent larger.
    written, data = cv2.imencode(".png", np.ascontiguousarray(values), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise VrmmError(f"an image of shape {values.shape} could not be encoded as PNG")
    return data.tobytes()


def _decode(data: bytes, extension: str, flags: int, what: str, reduction: int = 1) -> Any:
    import cv2

    width, height = declared_size(data, extension, what)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (-(-height // reduction), -(-width // reduction)):
        kind = _suffix(extension)
        raise VrmmError(f"{what} cannot be decoded as {kind} ({len(data)} bytes); copy it again from the source")
    return image


def _decode_avif(data: bytes, what: str) -> UInt8[np.ndarray, "H W 3"]:
    declared_size(data, "avif", what)
    return decode_avif(data, what)


def _suffix(extension: str) -> str:
    return extension.rpartition(".")[2].lower()


def _png_size(data: bytes, what: str) -> tuple[int, int]:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise VrmmError(f"{what} is not a PNG file; copy it again from the source")
    return struct.unpack(">II", data[16:24])


def _jpeg_size(data: bytes, what: str) -> tuple[int, int]:
    """Walks the segments to the frame header (ITU T.81, B.1.1.3 and B.2.2)."""
    position = 2
    while data[:2] == b"\xff\xd8" and position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1  # fill byte
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        else:
            position += 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
    raise VrmmError(f"{what} is not a JPEG file; copy it again from the source")


_DECLARED_SIZES = {"png": _png_size, "jpg": _jpeg_size, "jpeg": _jpeg_size, "avif": avif_size}
