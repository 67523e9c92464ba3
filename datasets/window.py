"""A rectangle of a stored picture, and the camera that sees it."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a stored picture, pixels: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    def intrinsics(self, camera: Camera, width: int, height: int) -> Float[np.ndarray, "3 3"]:
        """Of the camera whose picture is this part of ``camera``'s, resampled to ``width`` × ``height`` pixels."""
        shifted = camera.intrinsics.copy()
        shifted[:2] -= np.outer([self.x, self.y], shifted[2])
        return np.diag([width / self.width, height / self.height, 1.0]) @ shifted

    def reduced(self, reduction: int) -> "Window":
        """The same part of a picture with that many times fewer rows and columns."""
        return Window(*(value // reduction for value in (self.x, self.y, self.width, self.height)))

    def cut(self, image: np.ndarray) -> np.ndarray:
        return image[self.y : self.y + self.height, self.x : self.x + self.width]
