"""Picture files of any common kind as upright sRGB values."""

import dataclasses
import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.images import MAX_PIXELS, linearise

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_DEEP_SUFFIXES = (".png", ".tif", ".tiff")
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What each EXIF orientation (CIPA DC-008, 4.6.4) asks a viewer to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureFile:
    """A picture's values.

    Attributes:
        stored: [H, W, 3] upright sRGB, uint8 or uint16.
        alpha: [H, W] in [0, 1], or None.
    """

    stored: np.ndarray
    alpha: Float[np.ndarray, "H W"] | None

    @property
    def linear(self) -> Float[np.ndarray, "H W 3"]:
        """Linear RGB."""
        return linearise(self.stored, ImageEncoding(transfer="srgb", bits=8 * self.stored.dtype.itemsize))

    @property
    def rgb(self) -> UInt8[np.ndarray, "H W 3"]:
        """8-bit sRGB."""
        return self.stored if self.stored.dtype == np.uint8 else (self.stored >> 8).astype(np.uint8)


def read_picture(path: Path) -> PictureFile:
    """Read a colour picture; EXIF orientation is applied, CMYK and embedded colour profiles become sRGB.

    Profiles of 16-bit pictures are not read: those must be sRGB.

    Raises:
        VrmmError: no such file, no picture, a damaged, grey or far too large one.
    """
    if not path.is_file():
        raise VrmmError(f"photo {path} does not exist")
    if path.suffix.lower() not in SUFFIXES:
        raise VrmmError(f"{path} is not a picture that can be read; save it as one of {', '.join(SUFFIXES)}")
    data = path.read_bytes()
    deep = _read_deep(data) if path.suffix.lower() in _DEEP_SUFFIXES else None
    read = _read_shallow(data, path) if deep is None else _as_file(deep, _orientation(data), path)
    spread = np.ptp(read.stored[::4, ::4].astype(np.int32), axis=2).max(initial=0)
    if spread <= 2 * (np.iinfo(read.stored.dtype).max // 255):
        raise VrmmError(_grey(path))
    return read


def _read_shallow(data: bytes, path: Path) -> PictureFile:
    """8 bits a channel, by Pillow."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a large picture is no bomb; MAX_PIXELS decides
            with Image.open(io.BytesIO(data)) as image:
                _check_header(image.size, image.mode, path)
                upright = ImageOps.exif_transpose(image)
                profile = image.info.get("icc_profile")
                has_alpha = upright.mode in ("RGBA", "PA", "RGBa") or "transparency" in image.info
                alpha = upright.convert("RGBA").getchannel("A") if has_alpha else None
                rgb = np.array(_to_srgb(upright, profile))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VrmmError(
            f"{path} cannot be read as an 8- or 16-bit picture; export it again as PNG or JPEG ({error})"
        ) from error
    return PictureFile(stored=rgb, alpha=None if alpha is None else np.asarray(alpha, np.float32) / np.float32(255.0))


def _check_header(size: tuple[int, int], mode: str, path: Path) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise VrmmError(f"{path} has {size[0]}×{size[1]} pixels, more than the {MAX_PIXELS} that are read; shrink it")
    if mode in _GREY_MODES or mode.startswith("I;"):
        raise VrmmError(_grey(path))


def _to_srgb(image, profile: bytes | None):
    """RGB values in sRGB; a profile that cannot be used is left out."""
    from PIL import ImageCms

    color = image if image.mode in ("RGB", "CMYK") else image.convert("RGB")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in ImageCms.getProfileDescription(own):
                return color.convert("RGB")
            converted = ImageCms.profileToProfile(color, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None
            return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return color.convert("RGB")


def _read_deep(data: bytes) -> np.ndarray | None:
    """[H, W] or [H, W, 3 or 4] uint16 in RGB order, or None where it has 8 bits or cannot be read: by OpenCV."""
    import cv2

    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        return None
    if stored is None or stored.dtype != np.uint16:
        return None
    return stored if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]]


def _as_file(stored: np.ndarray, orientation: int, path: Path) -> PictureFile:
    if stored.ndim == 2 or stored.shape[2] not in (3, 4):
        raise VrmmError(_grey(path))
    _check_header((stored.shape[1], stored.shape[0]), "RGB", path)
    upright = np.ascontiguousarray(_UPRIGHT.get(orientation, _UPRIGHT[1])(stored))
    alpha = upright[..., 3].astype(np.float32) / np.float32(65535.0) if stored.shape[2] == 4 else None
    return PictureFile(stored=np.ascontiguousarray(upright[..., :3]), alpha=alpha)


def _orientation(data: bytes) -> int:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1


def _grey(path: Path) -> str:
    return f"{path} is a grey picture; skin and light cannot be told apart in it, use a colour photo"
