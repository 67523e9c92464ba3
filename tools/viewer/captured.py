"""Captured frames to compare with: the truth, and what the encoders say about it."""

import dataclasses
import functools
import threading

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, Light
from datasets.errors import VrmmError
from datasets.shards import ShardSet
from datasets.views import read_frame
from prior.encoders import Encoding
from prior.vrmm import VRMM

KEPT = 64
"""Shots kept in memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapturedShot:
    """One captured picture.

    Attributes:
        subject: name.
        camera: at the size of the picture.
        image: [3, H, W] linear radiance, premultiplied.
        mask: [1, H, W].
        light: the lamps that burnt.
        encoding: expression and pose from the encoders' views, B = 1.
    """

    subject: str
    camera: Camera
    image: Float[Tensor, "3 H W"]
    mask: Float[Tensor, "1 H W"]
    light: Light
    encoding: Encoding


class CapturedFrames:
    """The frames of a capture as one model sees them, read when asked for; safe for threads. Final.

    Args:
        model: whose encoders are asked.
        shards: the capture.
        input_cameras: the encoders' views.
        image_size: as in training.
    """

    def __init__(self, model: VRMM, shards: ShardSet, input_cameras: tuple[str, ...], image_size: int) -> None:
        self._model, self._shards = model, shards
        self._inputs, self._size = input_cameras, image_size
        self._lock = threading.Lock()
        self._read = functools.lru_cache(maxsize=KEPT)(self._read_shot)

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self._shards.info.cameras)

    @functools.cached_property
    def keys(self) -> dict[str, list[str]]:
        """Frames of each subject in capture order, without subjects that have none."""
        found: dict[str, list[str]] = {}
        for sample in range(len(self._shards)):
            subject = self._shards.info.subjects[self._shards.subject[sample]]
            found.setdefault(subject, []).append(self._shards.key(sample))
        return found

    def shot(self, key: str, camera: str) -> CapturedShot:
        """A picture. Raises VrmmError for a frame or camera that is not there, or damaged."""
        with self._lock:  # two threads that want the same frame read it once
            return self._read(key, camera)

    def _read_shot(self, key: str, camera: str) -> CapturedShot:
        view = self._shards.info.camera(camera)
        batch = read_frame(self._shards, key, [camera], self._size, input_cameras=self._inputs)
        with torch.inference_mode():
            encoding = self._model.encode(batch.input_images, batch.input_masks)
        image, mask = batch.target_images[0, 0].clone(), batch.target_masks[0, 0].clone()
        sample = self._shards.sample(key)
        return CapturedShot(
            subject=self._shards.info.subjects[self._shards.subject[sample]],
            camera=view.resized(image.shape[2], image.shape[1]),
            image=image,
            mask=mask,
            light=self._shards.frame(sample).light,
            encoding=encoding,
        )


def control_values(shards: ShardSet, keys: list[str]) -> Float[np.ndarray, "N C"]:
    """The head model's true controls in frames. Raises VrmmError where a frame does not know them."""
    rows = [shards.frame(shards.sample(key)).expression for key in keys]
    if any(row is None for row in rows) or len({len(row) for row in rows if row is not None}) != 1:
        raise VrmmError("the capture does not know its frames' expression controls")
    return np.array(rows, np.float64)
