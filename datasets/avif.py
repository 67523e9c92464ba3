"""AVIF pictures, decoded by Pillow (which brings the decoder since 11.3)."""

import io
import warnings

import numpy as np
from jaxtyping import UInt8

from datasets.errors import VrmmError


def avif_size(data: bytes, what: str = "an image") -> tuple[int, int]:
    """Width and height that an AVIF file declares; no pixel is decoded.

    Raises:
        VrmmError: bytes that are no AVIF file, or a Pillow without decoder; it names ``what``.
    """
    return _open(data, what).size


def decode_avif(data: bytes, what: str = "an image") -> UInt8[np.ndarray, "H W 3"]:
    """The stored RGB values; grey pictures have three equal channels, and deeper ones are rounded to 8 bits.

    Raises:
        VrmmError: as ``avif_size``, or data that break off.
    """
    picture = _open(data, what)
    try:
        return np.array(picture.convert("RGB"))
    except (OSError, ValueError, RuntimeError, SyntaxError) as error:
        raise _damaged(data, what) from error


def _open(data: bytes, what: str):
    from PIL import Image, features

    if "avif" not in features.modules or not features.check_module("avif"):
        raise VrmmError(f'{what} is an AVIF file, which this Pillow cannot decode; run pip install -U "pillow>=11.3"')
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded in parallel already
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller has its own limit
            return Image.open(io.BytesIO(data), formats=["AVIF"])
    except Image.DecompressionBombError as error:
        raise VrmmError(f"{what} declares far more pixels than a picture has; it is no picture of a capture") from error
    except (OSError, ValueError, RuntimeError, SyntaxError) as error:
        raise _damaged(data, what) from error


def _damaged(data: bytes, what: str) -> VrmmError:
    return VrmmError(f"{what} cannot be decoded as avif ({len(data)} bytes); copy it again from the source")
