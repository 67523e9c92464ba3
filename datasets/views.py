"""Reading chosen views of a sample into a batch: decode, linearise, resize, cameras, lamps."""

from collections.abc import Sequence

import numpy as np
import torch

from datasets.batch import FrameBatch
from datasets.cache import ArrayCache
from datasets.capture import Camera, CaptureInfo
from datasets.errors import VrmmError
from datasets.images import coverage, decode_stored, decode_stored_mask, linearise
from datasets.shards import ShardSet
from datasets.viewpoints import frontal_cameras

_LAMPS = -1  # cache key beside the camera numbers


class ViewReader:
    """Decodes views of samples at one image size, with a bounded memory. Final; safe for threads.

    Args:
        shards: where the samples lie.
        cameras: names of the cameras that will be read; their images must come out at one shape.
        image_size: pixels of the longer side, area-averaged in linear radiance; 0 leaves images as stored.
        cache_mb: megabytes of decoded images to keep.

    Attributes:
        height, width: of the images it gives, pixels.

    Raises:
        VrmmError: an unknown camera, cameras of different shapes, an ``image_size`` above the stored one.
    """

    def __init__(self, shards: ShardSet, cameras: Sequence[str], *, image_size: int = 0, cache_mb: int = 0) -> None:
        import cv2

        cv2.setNumThreads(1)  # images are read in parallel already
        self._shards = shards
        self._numbers = {camera.name: i for i, camera in enumerate(shards.info.cameras)}
        self._cameras = shards.info.cameras
        self._resized = image_size > 0
        self.width, self.height = _common_shape([shards.info.camera(name) for name in cameras], image_size)
        views = [camera.resized(self.width, self.height) for camera in self._cameras]
        self._world_to_camera = np.array([camera.world_to_camera for camera in views], np.float32)
        self._intrinsics = np.array([camera.intrinsics for camera in views], np.float32)
        self._cache = ArrayCache(cache_mb * 2**20)

    def camera_numbers(self, names: Sequence[str]) -> list[int]:
        return [self._numbers[name] for name in names]

    def new_batch(self, frames: int, *, inputs: int, targets: int) -> FrameBatch:
        """An empty batch for ``fill``."""
        return FrameBatch.zeros(
            frames, inputs=inputs, targets=targets, height=self.height, width=self.width, lamps=self._shards.lamps
        )

    def fill(self, batch: FrameBatch, row: int, sample: int, inputs: Sequence[int], targets: Sequence[int]) -> None:
        """Write a sample's views into a row of a batch; ``subject`` is left to the caller.

        Args:
            batch: from ``new_batch``.
            row: of the batch.
            sample: number in the shards.
            inputs, targets: camera numbers in the capture.

        Raises:
            DamageError: a member is damaged, absent or no image of its camera.
        """
        batch.keys[row] = self._shards.key(sample)
        for view, camera in enumerate(inputs):
            self._fill_view(sample, camera, batch.input_images[row, view], batch.input_masks[row, view])
        for view, camera in enumerate(targets):
            self._fill_view(sample, camera, batch.target_images[row, view], batch.target_masks[row, view])
        batch.input_world_to_camera.numpy()[row] = self._world_to_camera[inputs]
        batch.input_intrinsics.numpy()[row] = self._intrinsics[inputs]
        batch.input_camera.numpy()[row] = inputs
        batch.world_to_camera.numpy()[row] = self._world_to_camera[targets]
        batch.intrinsics.numpy()[row] = self._intrinsics[targets]
        batch.camera.numpy()[row] = targets
        self._fill_lamps(sample, batch.lamp_directions[row], batch.lamp_irradiance[row])

    def _fill_view(self, sample: int, camera: int, image_out: torch.Tensor, mask_out: torch.Tensor) -> None:
        image, mask = self._cache.get((sample, camera), lambda: self._decode(sample, self._cameras[camera]))
        if not self._resized:
            image, mask = self._radiance(image, mask, self._cameras[camera])
        image_out.numpy()[:] = image.transpose(2, 0, 1)
        mask_out.numpy()[0] = mask

    def _decode(self, sample: int, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Image [H, W, 3] and mask [H, W]: stored integers, or float32 radiance and coverage once resized."""
        member = self._shards.image_member(sample, camera.name)
        if member is None:
            raise self._shards.damage(sample, f"{camera.name}.rgb", "is absent")
        encoding = self._shards.info.encoding_of(camera)
        image = self._decoded(sample, member, camera, lambda data: decode_stored(data, member, encoding, "it"))
        mask_member = f"{camera.name}.mask.png"
        if self._shards.has(sample, mask_member):
            mask = self._decoded(sample, mask_member, camera, lambda data: decode_stored_mask(data, "it"))
        else:
            mask = np.full(image.shape[:2], 255, np.uint8)
        if not self._resized:
            return image, mask
        image, mask = self._radiance(image, mask, camera)
        return self._resize(image), self._resize(mask)

    def _radiance(self, stored: np.ndarray, stored_mask: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Linear radiance [H, W, 3] on black, and coverage [H, W]."""
        encoding = self._shards.info.encoding_of(camera)
        image, mask = linearise(stored, encoding), coverage(stored_mask)
        return (image if encoding.matted else image * mask[..., None]), mask

    def _decoded(self, sample: int, member: str, camera: Camera, decode) -> np.ndarray:
        data = self._shards.read(sample, member)
        try:
            pixels = decode(data)
        except VrmmError as error:
            raise self._shards.damage(sample, member, f"is no image that can be used: {error}") from error
        if pixels.shape[:2] != (camera.height, camera.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise self._shards.damage(sample, member, f"is {size} but its camera is {camera.width}x{camera.height}")
        return pixels

    def _resize(self, image: np.ndarray) -> np.ndarray:
        import cv2

        return cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def _fill_lamps(self, sample: int, directions_out: torch.Tensor, irradiance_out: torch.Tensor) -> None:
        directions, irradiance = self._cache.get((sample, _LAMPS), lambda: self._lamps(sample))
        directions_out.zero_()
        irradiance_out.zero_()
        directions_out.numpy()[: len(directions)] = directions
        irradiance_out.numpy()[: len(irradiance)] = irradiance

    def _lamps(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        light = self._shards.frame(sample).light
        return light.directions.astype(np.float32), light.irradiance.astype(np.float32)


def training_subjects(info: CaptureInfo) -> tuple[str, ...]:
    """The subjects that a prior is trained on, in the order of their numbers."""
    return tuple(subject for subject in info.subjects if info.subject_splits[subject] == "train")


def training_keys(shards: ShardSet, most: int) -> list[str]:
    """Keys of the frames that a prior is trained on, at most so many, spread evenly over all."""
    trained = np.array([shards.info.subject_splits[subject] == "train" for subject in shards.info.subjects])
    samples = np.flatnonzero(trained[shards.subject] & ~shards.held_out)
    return [shards.key(sample) for sample in samples[:: max(1, -(-len(samples) // most))].tolist()]


def default_input_cameras(info: CaptureInfo) -> tuple[str, ...]:
    """The encoders' views where a recipe names none: three frontal training cameras."""
    return frontal_cameras([camera for camera in info.cameras if camera.split == "train"])


def read_frame(
    shards: ShardSet,
    key: str,
    cameras: Sequence[str],
    image_size: int = 0,
    *,
    input_cameras: Sequence[str] | None = None,
) -> FrameBatch:
    """One frame (B = 1) with the given views, for evaluation and fitting.

    Args:
        shards: where it lies.
        key: of the sample.
        cameras: names of the target views, in order.
        image_size: as in ``LoaderConfig``.
        input_cameras: names of the encoder views; None takes those that training takes by default.

    Raises:
        VrmmError: no such sample or camera.
        DamageError: the sample is damaged or lacks a view.
    """
    inputs = default_input_cameras(shards.info) if input_cameras is None else tuple(input_cameras)
    reader = ViewReader(shards, [*inputs, *cameras], image_size=image_size)
    sample = shards.sample(key)
    batch = reader.new_batch(1, inputs=len(inputs), targets=len(cameras))
    reader.fill(batch, 0, sample, reader.camera_numbers(inputs), reader.camera_numbers(cameras))
    subject = shards.info.subjects[shards.subject[sample]]
    subjects = training_subjects(shards.info)
    batch.subject[0] = subjects.index(subject) if subject in subjects else -1
    return batch


def _common_shape(cameras: Sequence[Camera], image_size: int) -> tuple[int, int]:
    """Width and height of all images."""
    shapes = {}
    for camera in cameras:
        longer = max(camera.width, camera.height)
        if image_size > longer:
            raise VrmmError(f"image_size {image_size} exceeds the {longer} pixels of camera {camera.name}; lower it")
        scale = image_size / longer if image_size else 1.0
        shapes[max(round(camera.width * scale), 1), max(round(camera.height * scale), 1)] = camera.name
    if len(shapes) > 1:
        listed = ", ".join(f"{name} {width}x{height}" for (width, height), name in shapes.items())
        raise VrmmError(f"cameras give images of different shapes ({listed}); choose cameras of one shape")
    if not shapes:
        raise VrmmError("no camera to read; name at least one")
    return next(iter(shapes))
