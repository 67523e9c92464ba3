"""A capture whose pictures say where each of their pixels is, so that a moved or resampled view can be checked."""

import io

import numpy as np

from datasets.capture import ImageEncoding
from tests.datasets.tiny_capture import TinyCapture


class RampCapture(TinyCapture):
    """Red rises by a given step from column to column, green from row to row; a box of the picture is the head.

    Radiance at pixel coordinates (x, y) is ``(x * STEP, y * STEP, 0.6)``: averaging over areas keeps it true.

    Args:
        jpeg: store JPEGs of 8 bits rather than PNGs of 16; their error is below ``JPEG_ERROR``.
        boxes: of the head in the frames, in turn: left, top, right, bottom, pixels.
    """

    STEP = 1 / 128
    JPEG_ERROR = 3 / 255

    def __init__(
        self,
        *,
        size: tuple[int, int] = (96, 64),
        jpeg: bool = False,
        boxes: tuple[tuple[int, int, int, int], ...] = ((40, 16, 72, 40),),
        **values,
    ) -> None:
        super().__init__(encoding=ImageEncoding(bits=8) if jpeg else None, size=size, splits=False, **values)
        self._size, self._jpeg, self._boxes = size, jpeg, boxes

    def image(self, key: str, camera: str) -> np.ndarray:
        return self.truth(*np.meshgrid(np.arange(self._size[0]) + 0.5, np.arange(self._size[1]) + 0.5))

    def mask(self, key: str, camera: str) -> np.ndarray:
        left, top, right, bottom = self.box(key)
        mask = np.zeros(self._size[::-1], np.float32)
        mask[top:bottom, left:right] = 1.0
        return mask

    def box(self, key: str) -> tuple[int, int, int, int]:
        """Of the head in a frame."""
        return self._boxes[int(key[-6:]) % len(self._boxes)]

    def truth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Radiance [..., 3] at pixel coordinates."""
        return np.stack([x * self.STEP, y * self.STEP, np.full_like(x, 0.6)], axis=-1).astype(np.float32)

    def members(self, frame) -> dict[str, bytes]:
        import cv2

        members = super().members(frame)
        if self._jpeg:
            for camera in self.info.cameras:
                del members[f"{camera.name}.rgb.png"]
                stored = np.rint(self.image(frame.key, camera.name)[..., ::-1] * 255).astype(np.uint8)
                # Full colour resolution: half of it would blur the ramps at the borders.
                options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
                members[f"{camera.name}.rgb.jpg"] = cv2.imencode(".jpg", stored, options)[1].tobytes()
        return members


def seen_through(intrinsics: np.ndarray, camera, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in ``camera``'s stored picture of every pixel centre of a view [height, width] of its own."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(np.asarray(intrinsics, np.float64)).T
    pixels = rays @ camera.intrinsics.T
    return pixels[..., 0] / pixels[..., 2], pixels[..., 1] / pixels[..., 2]


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """An ``npz`` file."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
