"""The photos of one fit as tensors, with cameras in one world or each in its own."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from datasets.errors import VrmmError
from fitting.photo import Photo
from prior.cameras import CameraBatch

MAX_PHOTOS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """K photos of one head.

    Attributes:
        names: of the files.
        images, masks, valid: as in ``Photo``.
        landmarks: [K, 68, 2] pixels of these images.
        cameras: K of them; a guessed focal length where ``focal_known`` is false.
        crops: [K, 3, 3] pixels of the upright photos → pixels of the full-size working images.
        focal_known: the lenses are given.
        placed: the cameras share one world, so the head has one pose; else every camera is its own world and the
            head has a pose for each.
    """

    names: tuple[str, ...]
    images: Float[Tensor, "K 3 H W"]
    masks: Float[Tensor, "K 1 H W"]
    valid: Float[Tensor, "K 1 H W"]
    landmarks: Float[Tensor, "K 68 2"]
    cameras: CameraBatch
    crops: Float[np.ndarray, "K 3 3"]
    focal_known: bool
    placed: bool

    def __len__(self) -> int:
        return len(self.names)

    @property
    def poses(self) -> int:
        """Number of head poses."""
        return 1 if self.placed else len(self)

    def halved(self) -> "Views":
        """The same views at half the resolution."""
        height, width = self.cameras.height // 2, self.cameras.width // 2
        return dataclasses.replace(
            self,
            images=avg_pool2d(self.images, 2),
            masks=avg_pool2d(self.masks, 2),
            valid=(avg_pool2d(self.valid, 2) > 0.999).float(),
            landmarks=self.landmarks / 2,
            cameras=self.cameras.resized(height, width),
        )

    def through(self, intrinsics: Float[Tensor, "K 3 3"]) -> "Views":
        """The same views seen through these lenses, pixels."""
        return dataclasses.replace(self, cameras=dataclasses.replace(self.cameras, intrinsics=intrinsics))


def stack_photos(photos: Sequence[Photo]) -> Views:
    """Photos of one working size as views.

    Raises:
        VrmmError: no photo or too many, or some with cameras and others without.
    """
    if not 1 <= len(photos) <= MAX_PHOTOS:
        raise VrmmError(f"a fit takes 1 to {MAX_PHOTOS} photos, not {len(photos)}")
    known = [photo.intrinsics is not None for photo in photos]
    if any(known) != all(known):
        raise VrmmError(f"the camera file lacks {photos[known.index(False)].name}; list all photos in it or none")
    placed = all(photo.world_to_camera is not None for photo in photos)
    return Views(
        names=tuple(photo.name for photo in photos),
        images=torch.stack([photo.image for photo in photos]),
        masks=torch.stack([photo.mask for photo in photos]),
        valid=torch.stack([photo.valid for photo in photos]),
        landmarks=torch.tensor(np.stack([photo.landmarks for photo in photos]), dtype=torch.float32),
        cameras=_cameras(photos),
        crops=np.stack([photo.crop for photo in photos]),
        focal_known=all(known),
        placed=placed,
    )


def _cameras(photos: Sequence[Photo]) -> CameraBatch:
    size = photos[0].size
    places, lenses = [], []
    for photo in photos:
        places.append(np.eye(4)[:3] if photo.world_to_camera is None else photo.world_to_camera)
        lenses.append(_guessed_lens(photo) if photo.intrinsics is None else photo.intrinsics)
    return CameraBatch(
        world_to_camera=torch.tensor(np.stack(places), dtype=torch.float32),
        intrinsics=torch.tensor(np.stack(lenses), dtype=torch.float32),
        height=size,
        width=size,
    )


def _guessed_lens(photo: Photo) -> Float[np.ndarray, "3 3"]:
    """An uncropped photo's optical axis goes through its middle; the focal length is searched for later."""
    rows, columns = (np.flatnonzero(photo.valid[0].numpy().any(axis=axis)) for axis in (1, 0))
    middle = ((columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2)
    return np.array([[3.0 * photo.size, 0.0, middle[0]], [0.0, 3.0 * photo.size, middle[1]], [0.0, 0.0, 1.0]])
