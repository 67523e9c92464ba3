"""A capture of noise, for measurements that need real files and no heads."""

import zlib
from collections.abc import Sequence

import numpy as np

from datasets.capture import Capture, CaptureInfo, Frame, ImageEncoding, Light
from datasets.images import encode_mask, encode_radiance
from datasets.lightstage.rig import RigConfig, lamp_positions, make_cameras


class NoiseCapture(Capture):
    """``subjects`` × ``frames`` frames of random pixels; frame ``i`` is lit by lamp ``i`` alone. Final.

    Args:
        subjects, frames: how many.
        cameras: of training; one more is held out.
        size: width and height of an image, pixels.
    """

    def __init__(self, *, subjects: int, frames: int, cameras: int, size: int) -> None:
        rig = RigConfig(image_size=size, train_cameras=cameras, held_out_cameras=1)
        names = tuple(f"s{number}" for number in range(subjects))
        self._info = CaptureInfo(
            name="noise",
            cameras=make_cameras(rig),
            subjects=names,
            subject_splits=dict.fromkeys(names, "train"),
            light_positions=lamp_positions(rig),
            encoding=ImageEncoding(transfer="srgb", bits=8),
            licence="none needed",
        )
        self._frames = [self._frame(name, index) for name in names for index in range(frames)]

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return self._frames

    def members(self, frame: Frame) -> dict[str, bytes]:
        members = {}
        for camera in self._info.cameras:
            random = np.random.default_rng(zlib.crc32(f"{frame.key}/{camera.name}".encode()))
            pixels = random.random((camera.height, camera.width, 4), dtype=np.float32)
            members[f"{camera.name}.rgb.png"] = encode_radiance(pixels[..., :3], self._info.encoding)
            members[f"{camera.name}.mask.png"] = encode_mask(pixels[..., 3])
        return members

    def _frame(self, subject: str, index: int) -> Frame:
        lamp = index % len(self._info.light_positions)
        light = Light(positions=self._info.light_positions[lamp : lamp + 1], irradiance=np.ones((1, 3)))
        return Frame(subject=subject, sequence="noise", index=index, light=light, light_pattern=str(lamp))
