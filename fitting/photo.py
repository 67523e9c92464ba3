"""A user's photo as the fit sees it: linear, masked, cropped to the head, at the working size."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from datasets.images import decode_mask
from fitting.camerafile import PhotoCamera
from fitting.landmarks import LandmarkFiles, LandmarkSource, Picture, choose_face
from fitting.matting import estimate_mask
from fitting.picture import read_picture

HEAD_BOX = 2.3
"""Side of the square that surely holds the head, in sides of the box of its landmarks."""
MASK_MARGIN = 0.06
SMALLEST_FACE = 12
"""Pixels of the box of the landmarks."""
KEEP_WHOLE = 1.35
"""A photo whose square is at most this much larger than the head's box is used whole."""
MOST_CUT_OFF = 0.15
"""Share of the landmarks that may lie beyond the picture's edges."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo at the working size, a square of S pixels.

    Attributes:
        name: of the file.
        image: [3, S, S] linear RGB, premultiplied by ``mask``.
        mask: [1, S, S] coverage of the head in [0, 1].
        picture: [3, S, S] linear RGB before the mask.
        valid: [1, S, S] 1 where the photo shows something, 0 beyond its edges.
        mask_source: ``"file"``, ``"alpha"``, ``"estimated"`` (from landmarks) or ``"prior"`` (and the prior's alpha).
        landmarks: [68, 2] working pixels.
        crop: [3, 3] pixels of the upright photo → working pixels.
        intrinsics: [3, 3] in working pixels, or None.
        world_to_camera: [3, 4], or None.
    """

    name: str
    image: Float[Tensor, "3 S S"]
    mask: Float[Tensor, "1 S S"]
    picture: Float[Tensor, "3 S S"]
    valid: Float[Tensor, "1 S S"]
    mask_source: str
    landmarks: Float[np.ndarray, "68 2"]
    crop: Float[np.ndarray, "3 3"]
    intrinsics: Float[np.ndarray, "3 3"] | None
    world_to_camera: Float[np.ndarray, "3 4"] | None

    @property
    def size(self) -> int:
        """S."""
        return self.image.shape[-1]


def read_photo(
    path: Path,
    size: int,
    camera: PhotoCamera | None = None,
    landmarks: LandmarkSource | None = None,
    face: int | None = None,
) -> Photo:
    """Read a photo, its landmarks and its mask (``{stem}.mask.png``, else the alpha channel, else an estimate).

    EXIF orientation is applied; mask, landmarks and camera are those of the upright photo.

    Args:
        path: of the photo.
        size: working size, pixels.
        camera: of the photo, where it is known.
        landmarks: where they come from; files beside the photo by default.
        face: its number from the left where there are several.

    Raises:
        VrmmError: not a colour picture that can be read, no landmarks, a mask or camera of another size.
    """
    file = read_picture(path)
    linear = file.linear
    points = find_landmarks(Picture(path=path, rgb=file.rgb), landmarks or LandmarkFiles(), face)
    height, width = linear.shape[:2]
    if camera is not None and (camera.width, camera.height) != (width, height):
        raise VrmmError(f"{path} is {width}×{height} but its camera {camera.width}×{camera.height}; mend the file")
    mask, source = _mask(path, linear, file.alpha, points)
    square = head_square(points, mask if source != "estimated" else None, width, height)
    return cut_photo(path.name, linear, mask, source, points, square, size, camera)


def find_landmarks(
    picture: Picture, source: LandmarkSource, face: int | None = None, near: Float[np.ndarray, "68 2"] | None = None
) -> Float[np.ndarray, "68 2"]:
    """The landmarks of the one face to fit. Raises VrmmError as ``choose_face``, and for a tiny or cut-off face."""
    points = choose_face(source.find(picture), picture.name, source.remedy(picture), face, near)
    height, width = picture.rgb.shape[:2]
    check_inside(points, width, height, picture.name)
    return points


def cut_photo(
    name: str,
    linear: Float[np.ndarray, "H W 3"],
    mask: Float[np.ndarray, "H W"],
    mask_source: str,
    points: Float[np.ndarray, "68 2"],
    square: tuple[int, int, int],
    size: int,
    camera: PhotoCamera | None = None,
) -> Photo:
    """A photo from linear pixels and their mask and landmarks: the ``square`` (``head_square``) at ``size`` pixels."""
    left, top, side = square
    picture, image, coverage, valid = (
        _cut(pixels, left, top, side, size) for pixels in (linear, linear * mask[..., None], mask, np.ones_like(mask))
    )
    scale = size / side
    crop = np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale], [0.0, 0.0, 1.0]])
    return Photo(
        name=name,
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        mask=torch.from_numpy(coverage[None]),
        picture=torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))),
        valid=torch.from_numpy(valid[None]),
        mask_source=mask_source,
        landmarks=points * scale + crop[:2, 2],
        crop=crop,
        intrinsics=None if camera is None else crop @ camera.intrinsics,
        world_to_camera=None if camera is None else camera.world_to_camera,
    )


def check_inside(points: Float[np.ndarray, "68 2"], width: int, height: int, what: str) -> None:
    """Raises VrmmError, naming ``what``, where the face is not in the picture, cut off, or tiny."""
    inside = ((points >= 0) & (points <= (width, height))).all(axis=1).mean()
    if inside < 0.5:
        raise VrmmError(f"{what}: most landmarks lie outside its {width}×{height} pixels; are they of another picture?")
    if inside < 1.0 - MOST_CUT_OFF:
        raise VrmmError(f"{what}: the face is cut off by the picture's edge; use a picture of the whole head")
    face = np.ptp(points, axis=0).max()
    if face < SMALLEST_FACE:
        raise VrmmError(f"{what}: the face is only {face:.0f} pixels large; use a larger picture")


def _mask(
    path: Path, linear: np.ndarray, alpha: np.ndarray | None, points: np.ndarray
) -> tuple[Float[np.ndarray, "H W"], str]:
    file = path.with_suffix("").with_name(path.stem + ".mask.png")
    if file.is_file():
        mask = decode_mask(file.read_bytes(), str(file))
        if mask.shape != linear.shape[:2]:
            raise VrmmError(
                f"{file} is {mask.shape[1]}×{mask.shape[0]} but its photo {linear.shape[1]}×{linear.shape[0]}"
            )
        return mask, "file"
    if alpha is not None and alpha.min() < 0.5:
        return alpha, "alpha"
    return estimate_mask(linear, points), "estimated"


def head_square(points: np.ndarray, mask: np.ndarray | None, width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the square around the head, pixels.

    Args:
        points: [N, 2] landmarks of one picture, or of all pictures of a video.
        mask: [H, W] where the head is, if that is known.
        width, height: of the picture, pixels.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    face = float((high - low).max())
    center = (low + high) / 2 - (0.0, 0.2 * face)
    low, high = center - HEAD_BOX * face / 2, center + HEAD_BOX * face / 2
    if mask is not None and (mask > 0.5).any():
        rows, columns = np.flatnonzero((mask > 0.5).any(axis=1)), np.flatnonzero((mask > 0.5).any(axis=0))
        margin = MASK_MARGIN * HEAD_BOX * face
        low = np.maximum(low, (columns[0] - margin, rows[0] - margin))
        high = np.minimum(high, (columns[-1] + 1 + margin, rows[-1] + 1 + margin))
    side = float((high - low).max())
    if max(width, height) <= KEEP_WHOLE * side:
        side = max(width, height)
        return (width - side) // 2, (height - side) // 2, side
    left, top = np.floor((low + high - side) / 2)
    return int(left), int(top), int(np.ceil(side))


def _cut(pixels: np.ndarray, left: int, top: int, side: int, size: int) -> np.ndarray:
    """The square resampled to ``size`` pixels; zeros beyond the picture."""
    import cv2

    height, width = pixels.shape[:2]
    square = np.zeros((side, side, *pixels.shape[2:]), np.float32)
    x0, x1, y0, y1 = max(left, 0), min(left + side, width), max(top, 0), min(top + side, height)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    if side == size:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
