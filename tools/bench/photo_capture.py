"""A capture of JPEGs that cost as much to decode as photographs, made quickly."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from datasets.capture import Capture, CaptureInfo, Frame, ImageEncoding, Light
from datasets.lightstage.rig import RigConfig, lamp_positions, make_cameras

QUALITY = 95
FULL_COLOUR = 0x111111
"""One sample of colour a pixel (4:4:4), as a studio stores what it measures colours from."""
NOISE = 5.0
"""Standard deviation of the grain, of 255: about 0.7 bytes a pixel at this quality."""


class PhotoCapture(Capture):
    """Frames of one subject: soft shapes and grain, other ones from every camera and in every frame. Final.

    Args:
        frames: how many.
        inputs: cameras that the encoders see, held out so that none of them is a target.
        targets: cameras to render.
        size: width and height of a picture, pixels.
    """

    def __init__(self, *, frames: int, inputs: int, targets: int, size: int) -> None:
        rig = RigConfig(image_size=size, train_cameras=targets, held_out_cameras=inputs)
        self._info = CaptureInfo(
            name="photos",
            cameras=make_cameras(rig),
            subjects=("s0",),
            subject_splits={"s0": "train"},
            light_positions=lamp_positions(rig),
            encoding=ImageEncoding(transfer="srgb", bits=8),
            licence="none needed",
        )
        self._light = Light(positions=lamp_positions(rig), irradiance=np.ones((len(lamp_positions(rig)), 3)))
        self._count = frames
        self._pictures = [_picture(number, size) for number in range(len(self._info.cameras))]

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return [Frame(subject="s0", sequence="photos", index=i, light=self._light) for i in range(self._count)]

    def members(self, frame: Frame) -> dict[str, bytes]:
        import cv2

        members = {}
        for camera, picture in zip(self._info.cameras, self._pictures, strict=True):
            shown = np.roll(picture, 37 * frame.index, axis=1)
            options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FULL_COLOUR]
            data = cv2.imencode(".jpg", shown, options)[1]
            members[f"{camera.name}.rgb.jpg"] = data.tobytes()
        return members


def _picture(number: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
    import cv2

    random = np.random.default_rng(number)
    shapes = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    soft = cv2.resize(shapes, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(soft + random.normal(0.0, NOISE, soft.shape), 0, 255).astype(np.uint8)
