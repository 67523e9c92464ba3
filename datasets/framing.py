"""Which part of a camera's picture a view shows: all of it, or a square around the head."""

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera
from datasets.errors import VrmmError
from datasets.rig_frames import common_parts
from datasets.window import Window

_GRID = 8
"""Pixels that a square's side is a multiple of, and its place except at the far edges of a picture of another size, so
that reduced JPEGs can be cut at whole pixels."""


class CropBy(enum.Enum):
    """What says where the head is."""

    none = "none"
    mask = "mask"
    landmarks = "landmarks"


@dataclasses.dataclass(kw_only=True)
class CropConfig:
    """A square around the head in the pictures to render, frame by frame; their intrinsics follow.

    The encoders' views are never cropped: a square that follows the head hides from them how the head has moved.

    Attributes:
        by: the foreground of the ``mask``, or the 68 ``landmarks`` of ``lmk.npz``; ``none`` keeps whole pictures.
            A picture without gives the largest square in its middle.
        size: pixels of the square's side after resampling.
        margin: share of the found box's longer side that is added on each of its sides. Landmarks reach from the chin
            to the brows: 0.6 takes in the hair.
    """

    by: CropBy = CropBy.none
    size: int = 0
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.by is not CropBy.none and self.size < 1:
            raise VrmmError(f"crop.size is {self.size}; with crop.by={self.by.value} it must be at least 1")
        if not 0.0 <= self.margin <= 10.0:
            raise VrmmError(f"crop.margin is {self.margin}; it must be from 0 to 10")


class Framing(ABC):
    """The part of each picture that is wanted and its size.

    Attributes:
        by: what ``window`` needs to be told.
        width, height: of all views, pixels.
    """

    by: CropBy
    width: int
    height: int

    @abstractmethod
    def window(self, camera: Camera, found: "Box | None") -> Window:
        """The wanted part of a picture in which the head was found there."""

    def reduction(self, window: Window) -> int:
        """How many times smaller a JPEG can be decoded that is resampled to this size afterwards: 1, 2, 4 or 8."""
        for factor in (8, 4, 2):
            whole = all(value % factor == 0 for value in (window.x, window.y, window.width, window.height))
            if whole and window.width >= factor * self.width and window.height >= factor * self.height:
                return factor
        return 1


@dataclasses.dataclass(frozen=True)
class Box:
    """Corners of a box around something in a picture, pixels."""

    left: float
    top: float
    right: float
    bottom: float


class WholePicture(Framing):
    """All of every picture, at one shape. Final.

    Rigs of different shapes all show the narrowest (``datasets.rig_frames``).

    Args:
        rigs: the cameras to read, by rig; those of a rig must have pictures of one shape.
        image_size: pixels of the longer side; 0 leaves pictures as stored.

    Attributes:
        resized: whether pictures are resampled.

    Raises:
        VrmmError: shapes that cannot be made one, no camera at all, or an ``image_size`` above the stored one.
    """

    by = CropBy.none

    def __init__(self, rigs: Sequence[Sequence[Camera]], image_size: int) -> None:
        self.resized = image_size > 0
        self.width, self.height, self._parts = common_parts(rigs, image_size)

    def window(self, camera: Camera, found: Box | None) -> Window:
        return self._parts[camera.name]


class HeadSquare(Framing):
    """A square around the head that lies inside the picture. Final.

    Args:
        config: with ``by`` other than ``none``.
    """

    def __init__(self, config: CropConfig) -> None:
        self.by, self._margin = config.by, config.margin
        self.width = self.height = config.size

    def window(self, camera: Camera, found: Box | None) -> Window:
        largest = min(camera.width, camera.height)
        grid = _GRID if largest >= _GRID else 1
        largest -= largest % grid
        center, side = (camera.width / 2, camera.height / 2), largest
        if found is not None:
            longer = max(found.right - found.left, found.bottom - found.top) * (1 + 2 * self._margin)
            side = min(max(int(np.ceil(longer / grid)), 1) * grid, largest)
            center = (found.left + found.right) / 2, (found.top + found.bottom) / 2
        x = _place(center[0] - side / 2, camera.width - side, grid)
        y = _place(center[1] - side / 2, camera.height - side, grid)
        return Window(x, y, side, side)


def box_of_mask(mask: np.ndarray) -> Box | None:
    """Around the pixels of a stored mask [H, W] that are at least half covered; None where there are none."""
    import cv2

    x, y, width, height = cv2.boundingRect((mask > np.iinfo(mask.dtype).max // 2).astype(np.uint8))
    return Box(float(x), float(y), float(x + width), float(y + height)) if width and height else None


def box_of_points(points: Float[np.ndarray, "N 2"]) -> Box | None:
    """Around the points (pixels) that are finite; None where there are none."""
    points = points[np.isfinite(points).all(axis=1)]
    return Box(*points.min(axis=0).tolist(), *points.max(axis=0).tolist()) if len(points) else None


def _place(wanted: float, most: int, grid: int) -> int:
    """The multiple of ``grid`` next to ``wanted`` between 0 and ``most``, or ``most`` where that would be beyond it."""
    return min(max(round(wanted / grid), 0) * grid, most)
