"""Pictures and masks of a data set as members of a sample: the original bytes wherever they can stay."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.images import (
    coverage,
    declared_size,
    decode_radiance,
    decode_stored_mask,
    encode_mask,
    encode_radiance,
)
from datasets.readers.stage import RawCamera


def picture_member(
    data: bytes, extension: str, camera: RawCamera, encoding: ImageEncoding, what: str
) -> tuple[str, bytes]:
    """A stored picture's member name and bytes: unchanged, or as PNG of the same encoding without lens distortion.

    Args:
        data: the file.
        extension: of the file, such as ``"avif"``.
        camera: that took it.
        encoding: of its values.
        what: names the file in errors.

    Raises:
        VrmmError: bytes that are no such picture, or one whose size contradicts the calibration.
    """
    check_size(declared_size(data, extension, what), camera, what)
    if not any(camera.distortion):
        return f"{camera.name}.rgb.{extension}", data
    radiance = undistorted(decode_radiance(data, extension, encoding, what), camera)
    return f"{camera.name}.rgb.png", encode_radiance(radiance, encoding)


def mask_member(
    data: bytes, camera: RawCamera, what: str, *, background: Collection[int] | None = None, extension: str = "png"
) -> tuple[str, bytes]:
    """A stored mask's member name and bytes, as an 8-bit PNG of the picture's size without lens distortion.

    Args:
        data: the file.
        camera: whose pictures it masks.
        what: names the file in errors.
        background: where the file holds labels, those that are not the head; None where it holds coverage.
        extension: ``"png"`` or ``"jpg"``.

    Raises:
        VrmmError: bytes that are no such picture, or one of another shape than the camera's.
    """
    stored = decode_stored_mask(data, what, extension)
    mask = coverage(stored) if background is None else (~np.isin(stored, list(background))).astype(np.float32)
    return f"{camera.name}.mask.png", encode_mask(fitted_mask(mask, camera, what))


def jpeg_or_png(stored: UInt8[np.ndarray, "H W 3"], quality: int) -> tuple[str, bytes]:
    """Extension and bytes of RGB values as a JPEG of that quality and full colour resolution, or as PNG for 0."""
    import cv2

    extension = "jpg" if quality else "png"
    settings = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    written, data = cv2.imencode(f".{extension}", stored[..., ::-1], settings if quality else fast)
    if not written:
        raise VrmmError(f"a picture of shape {stored.shape} could not be stored as {extension}")
    return extension, data.tobytes()


def fitted_mask(mask: Float[np.ndarray, "H W"], camera: RawCamera, what: str) -> Float[np.ndarray, "H2 W2"]:
    """A mask in the size of the camera's pictures and without its distortion. Raises VrmmError for another shape."""
    import cv2

    height, width = mask.shape
    if (width, height) != (camera.width, camera.height):
        if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
            raise _contradiction((width, height), camera, what)
        shrinks = width > camera.width
        mask = cv2.resize(
            mask, (camera.width, camera.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    return undistorted(mask, camera) if any(camera.distortion) else mask


def undistorted(image: Float[np.ndarray, "H W *C"], camera: RawCamera) -> Float[np.ndarray, "H W *C"]:
    """The picture that the same camera would take without its lens distortion; black where it saw nothing."""
    import cv2

    matrix = camera.intrinsics.copy()
    matrix[:2, 2] -= 0.5  # OpenCV's first pixel centre is at (0, 0)
    return cv2.undistort(image, matrix, np.array(camera.distortion))


def check_size(size: tuple[int, int], camera: RawCamera, what: str) -> None:
    """Raises VrmmError where a picture is not of the size (width, height) that its camera was calibrated for."""
    if size != (camera.width, camera.height):
        raise _contradiction(size, camera, what)


def _contradiction(size: tuple[int, int], camera: RawCamera, what: str) -> VrmmError:
    return VrmmError(
        f"{what} is {size[0]}x{size[1]}, but camera {camera.name} is calibrated for {camera.width}x{camera.height}; "
        "is it of another capture?"
    )
