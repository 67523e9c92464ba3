"""One view of a sample: its members' bytes decoded, linearised, cut and resampled."""

import zipfile
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera
from datasets.errors import VrmmError
from datasets.frames import read_arrays
from datasets.framing import Box, CropBy, Framing, WholePicture, box_of_mask, box_of_points
from datasets.images import can_reduce, coverage, decode_stored, decode_stored_mask, linearise, linearise_planes
from datasets.shards import ShardSet
from datasets.window import Window

LANDMARKS = "lmk.npz"

T = TypeVar("T")
Read = Callable[[str], bytes]
"""Gives a member of one sample by its extension."""
View = tuple[np.ndarray, ...]
"""Image, mask (empty where the sample has none) and the four numbers of the window that they show."""

_NO_MASK = np.zeros((0, 0), np.uint8)


class ViewDecoder:
    """Makes views of stored pictures. Final; safe for threads.

    Where a picture is resampled, its radiance is averaged over areas (bilinear where it is enlarged). With
    ``reduced_jpeg`` a JPEG is first decoded at 1/2, 1/4 or 1/8, whichever is the least that still has the wanted
    pixels; that part of the averaging is of stored values, exact for linear encodings and an approximation for others.

    Args:
        shards: where the samples lie.
        reduced_jpeg: whether JPEGs may be decoded at a reduced size.
    """

    def __init__(self, shards: ShardSet, reduced_jpeg: bool) -> None:
        import cv2

        cv2.setNumThreads(1)  # images are read in parallel already
        self._shards, self._reduced_jpeg = shards, reduced_jpeg

    def members(self, sample: int, camera: Camera, framing: Framing) -> list[str]:
        """Extensions of what ``decode`` reads, those that the sample has."""
        image, mask = self._shards.image_member(sample, camera.name), self._shards.mask_member(sample, camera.name)
        wanted = [member for member in (image, mask) if member is not None]
        if framing.by is CropBy.landmarks and self._shards.has(sample, LANDMARKS):
            wanted.append(LANDMARKS)
        return wanted

    def decode(self, sample: int, camera: Camera, framing: Framing, read: Read) -> View:
        """A view to be kept: stored integers [H, W, 3] and [H, W], or resampled float32 [3, h, w] and [h, w].

        Raises:
            DamageError: a member is damaged, absent or no image of its camera.
        """
        member = self._shards.image_member(sample, camera.name)
        if member is None:
            raise self._shards.damage(sample, f"{camera.name}.rgb", "is absent")
        data = read(member)
        mask = self._mask(sample, camera, read)
        window = framing.window(camera, self._find(sample, camera, framing.by, mask, read))
        keeps = isinstance(framing, WholePicture) and not framing.resized
        matted = mask is None or self._shards.info.encoding_of(camera).matted  # else the mask has to fit the pixels
        reduction = (
            framing.reduction(window) if self._reduced_jpeg and not keeps and matted and can_reduce(member) else 1
        )
        image = self._image(sample, member, camera, data, reduction)
        corners = np.array([window.x, window.y, window.width, window.height])
        if keeps:
            return image, _NO_MASK if mask is None else mask, corners
        linear = linearise(window.reduced(reduction).cut(image), self._shards.info.encoding_of(camera))
        cut = None if mask is None else coverage(window.cut(mask))
        resampled = _resample(linear if matted or cut is None else linear * cut[..., None], framing)
        covered = _NO_MASK if cut is None else _resample(cut, framing)
        return np.ascontiguousarray(resampled.transpose(2, 0, 1)), covered, corners

    def write(
        self, camera: Camera, view: View, image_out: Float[np.ndarray, "3 H W"], mask_out: Float[np.ndarray, "H W"]
    ) -> Window:
        """Write a view that ``decode`` made of a camera as radiance on black and coverage; returns what it shows."""
        image, mask, window = view
        if image.dtype == np.float32:
            image_out[:] = image
        else:
            linearise_planes(image, self._shards.info.encoding_of(camera), image_out)
        if not mask.size:
            mask_out.fill(1.0)
        elif mask.dtype == np.float32:
            mask_out[:] = mask
        else:
            np.divide(mask, np.float32(np.iinfo(mask.dtype).max), out=mask_out, dtype=np.float32)
        if image.dtype != np.float32 and not self._shards.info.encoding_of(camera).matted:
            image_out *= mask_out
        return Window(*window.tolist())

    def _image(self, sample: int, member: str, camera: Camera, data: bytes, reduction: int) -> np.ndarray:
        encoding = self._shards.info.encoding_of(camera)
        image = self._usable(sample, member, lambda: decode_stored(data, member, encoding, "it", reduction=reduction))
        self._check_size(sample, member, camera, image, reduction)
        return image

    def _mask(self, sample: int, camera: Camera, read: Read) -> np.ndarray | None:
        member = self._shards.mask_member(sample, camera.name)
        if member is None:
            return None
        data = read(member)
        mask = self._usable(sample, member, lambda: decode_stored_mask(data, "it"))
        self._check_size(sample, member, camera, mask, 1)
        return mask

    def _find(self, sample: int, camera: Camera, by: CropBy, mask: np.ndarray | None, read: Read) -> Box | None:
        """Where the head is in the picture, if that can be known."""
        if by is CropBy.mask and mask is not None:
            return box_of_mask(mask)
        if by is CropBy.landmarks and self._shards.has(sample, LANDMARKS):
            data = read(LANDMARKS)
            arrays = self._usable(sample, LANDMARKS, lambda: _landmark_arrays(data))
            names, own = arrays["cameras"].tolist(), self._shards.own_name(sample, camera.name)
            return box_of_points(arrays["points"][names.index(own)]) if own in names else None
        return None

    def _usable(self, sample: int, member: str, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except VrmmError as error:
            raise self._shards.damage(sample, member, f"is no image that can be used: {error}") from error

    def _check_size(self, sample: int, member: str, camera: Camera, pixels: np.ndarray, reduction: int) -> None:
        if pixels.shape[:2] != (-(-camera.height // reduction), -(-camera.width // reduction)):
            size = f"{pixels.shape[1] * reduction}x{pixels.shape[0] * reduction}"
            raise self._shards.damage(sample, member, f"is {size} but its camera is {camera.width}x{camera.height}")


def _resample(image: np.ndarray, framing: Framing) -> np.ndarray:
    import cv2

    enlarged = image.shape[1] < framing.width or image.shape[0] < framing.height
    method = cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA
    return cv2.resize(image, (framing.width, framing.height), interpolation=method)


def _landmark_arrays(data: bytes) -> Mapping[str, np.ndarray]:
    """``cameras`` [C] and ``points`` [C, N, 2] of an ``lmk.npz``. Raises VrmmError where they are not there."""
    try:
        arrays = read_arrays(data)
        if arrays["points"].shape != (*arrays["cameras"].shape, arrays["points"].shape[1], 2):
            raise ValueError(f"points of shape {arrays['points'].shape}")
        return arrays
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise VrmmError(f"it has no landmarks ({error}); build it again") from error
