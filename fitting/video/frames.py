"""The frames of a video as the fit sees them, kept on disk so that any number of them fits into memory."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from fitting.camerafile import PhotoCamera
from fitting.foreground import with_estimated_masks
from fitting.photo import Photo, cut_photo, head_square
from fitting.video.source import FrameSource, VideoFrame
from fitting.views import MAX_PHOTOS, Views
from prior.cameras import CameraBatch
from prior.render import RenderConfig
from prior.vrmm import VRMM

CHUNK = MAX_PHOTOS
"""Frames in one file: 9 KB of 16-bit numbers a frame at 32², 92 KB at 96²."""
TO_CAMERA = np.concatenate([np.diag([1.0, -1.0, -1.0]), np.zeros((3, 1))], axis=1)
"""The world of a video: its camera in the origin looks along -z, y is up."""


class KeptFrames:
    """T frames of a video in ``folder``. Final.

    Args:
        folder: that ``keep_frames`` has filled.
        count: T.
        size: of the pictures, pixels.
    """

    def __init__(self, folder: Path, count: int, size: int) -> None:
        self._folder, self._count, self._size = folder, count, size
        chunks = [_load_facts(_facts(folder, number)) for number in range(-(-count // CHUNK))]
        self.names = tuple(str(name) for chunk in chunks for name in chunk["names"])
        self._landmarks = np.concatenate([chunk["landmarks"] for chunk in chunks])
        self._lenses = np.concatenate([chunk["lenses"] for chunk in chunks])
        self._crops = np.concatenate([chunk["crops"] for chunk in chunks])

    def __len__(self) -> int:
        return self._count

    def views(self, rows: Sequence[int]) -> Views:
        """Some frames: each has its own head pose in the world of the camera."""
        pixels = torch.stack([self._pixels(row) for row in rows])
        chosen = list(rows)
        cameras = CameraBatch(
            world_to_camera=torch.tensor(TO_CAMERA, dtype=torch.float32).expand(len(chosen), 3, 4).clone(),
            intrinsics=torch.tensor(self._lenses[chosen], dtype=torch.float32),
            height=self._size,
            width=self._size,
        )
        return Views(
            names=tuple(self.names[row] for row in chosen),
            images=pixels[:, :3],
            masks=pixels[:, 3:4],
            valid=pixels[:, 4:],
            landmarks=torch.tensor(self._landmarks[chosen], dtype=torch.float32),
            cameras=cameras,
            crops=self._crops[chosen],
            focal_known=True,
            placed=False,
        )

    def _pixels(self, row: int) -> Float[Tensor, "5 S S"]:
        """Picture, mask and validity; only these bytes are read."""
        number, place = divmod(row, CHUNK)
        chunk = np.load(_pixels(self._folder, number), mmap_mode="r", allow_pickle=False)
        return torch.from_numpy(np.array(chunk[place], np.float32))


def keep_frames(
    source: FrameSource,
    points: Float[np.ndarray, "T 68 2"],
    camera: PhotoCamera,
    model: VRMM,
    rendering: RenderConfig,
    size: int,
    folder: Path,
    report: Callable[[int], object] = lambda done: None,
) -> KeptFrames:
    """Cut, mask and keep all frames; chunks that are there already are not made again.

    Args:
        source: of T frames.
        points: their landmarks, pixels.
        camera: the video's lens.
        model, rendering: the prior, for masks that are not given.
        size: working size, pixels.
        folder: for the chunks.
        report: called with the frames that are done.

    Raises:
        VrmmError: damage, or landmarks of no face.
    """
    number = 0
    while _facts(folder, number).is_file():
        number += 1
    start = min(number * CHUNK, len(points))
    group: list[Photo] = []
    if start < len(points):
        for row, frame in enumerate(source.frames(start), start=start):
            group.append(_cut(frame, points[row], camera, size))
            if len(group) == CHUNK or row == len(points) - 1:
                _keep(folder, number, with_estimated_masks(group, model, rendering))
                group, number = [], number + 1
                report(row + 1)
    return KeptFrames(folder, len(points), size)


def _cut(frame: VideoFrame, points: np.ndarray, camera: PhotoCamera, size: int) -> Photo:
    height, width = frame.linear.shape[:2]
    if (camera.width, camera.height) != (width, height):
        raise VrmmError(
            f"{frame.name} is {width}×{height} but its camera {camera.width}×{camera.height}; mend the camera file"
        )
    square = head_square(points, frame.mask, width, height)
    mask = np.ones((height, width), np.float32) if frame.mask is None else frame.mask
    source = "estimated" if frame.mask is None else "file"
    return cut_photo(frame.name, frame.linear, mask, source, points, square, size, camera)


def _keep(folder: Path, number: int, photos: Sequence[Photo]) -> None:
    """The facts come last: a chunk with facts is whole."""
    pixels = torch.stack([torch.cat([photo.image, photo.mask, photo.valid]) for photo in photos])
    data = io.BytesIO()
    np.save(data, pixels.numpy().astype(np.float16))
    atomic_write_bytes(_pixels(folder, number), data.getvalue())
    facts = io.BytesIO()
    np.savez(
        facts,
        names=np.array([photo.name for photo in photos]),
        landmarks=np.stack([photo.landmarks for photo in photos]).astype(np.float64),
        lenses=np.stack([np.asarray(photo.intrinsics) for photo in photos]),
        crops=np.stack([photo.crop for photo in photos]),
    )
    atomic_write_bytes(_facts(folder, number), facts.getvalue())


def _load_facts(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _pixels(folder: Path, number: int) -> Path:
    return folder / f"frames_{number:05d}.npy"


def _facts(folder: Path, number: int) -> Path:
    return folder / f"frames_{number:05d}.npz"
