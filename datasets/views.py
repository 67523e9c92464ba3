"""Reading chosen views of a sample into a batch: images, masks, cameras, lamps."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.batch import FrameBatch
from datasets.buffers import ArrayPool
from datasets.cache import ArrayCache
from datasets.capture import CaptureInfo
from datasets.decoding import Read, ViewDecoder
from datasets.errors import VrmmError
from datasets.frames import LIGHT, META
from datasets.framing import CropBy, CropConfig, Framing, HeadSquare, WholePicture
from datasets.shards import ShardSet
from datasets.viewpoints import frontal_cameras

_LAMPS = -1  # cache key beside the camera numbers


class ViewReader:
    """Decodes views of samples at one image size, with a bounded memory. Final; safe for threads.

    Args:
        shards: where the samples lie.
        cameras: names of cameras whose whole images will be read; those of a rig must have images of one shape.
        image_size: pixels of the longer side, area-averaged in linear radiance; 0 leaves images as stored.
        cache_mb: megabytes of decoded images to keep.
        reduced_jpeg: whether JPEGs may be decoded at a reduced size (see ``ViewDecoder``).
        crop: of the target views.

    Attributes:
        height, width: of whole images, pixels.
        target_height, target_width: of target views, pixels.

    Raises:
        VrmmError: an unknown camera, cameras of different shapes, an ``image_size`` above the stored one.
    """

    def __init__(
        self,
        shards: ShardSet,
        cameras: Sequence[str],
        *,
        image_size: int = 0,
        cache_mb: int = 0,
        reduced_jpeg: bool = False,
        crop: CropConfig | None = None,
    ) -> None:
        self._shards = shards
        self._numbers = {camera.name: i for i, camera in enumerate(shards.info.cameras)}
        self._cameras = shards.info.cameras
        wanted = {name: shards.info.camera(name) for name in cameras}
        rigs = [[camera for name, camera in wanted.items() if name in rig] for rig in shards.info.rigs]
        self._whole = WholePicture(rigs, image_size)
        self._framing: Framing = self._whole if crop is None or crop.by is CropBy.none else HeadSquare(crop)
        self.width, self.height = self._whole.width, self._whole.height
        self.target_width, self.target_height = self._framing.width, self._framing.height
        self._world_to_camera = np.array([camera.world_to_camera for camera in self._cameras], np.float32)
        self._decoder = ViewDecoder(shards, reduced_jpeg)
        self._cache = ArrayCache(cache_mb * 2**20)
        self._pool = ArrayPool()

    def camera_numbers(self, names: Sequence[str]) -> list[int]:
        return [self._numbers[name] for name in names]

    def new_batch(self, frames: int, *, inputs: int, targets: int) -> FrameBatch:
        """An empty batch for ``fill``, in memory of batches that nobody holds any more."""
        batch = FrameBatch.zeros(frames, inputs=inputs, targets=targets, height=0, width=0, lamps=self._shards.lamps)
        whole, square = (self.height, self.width), (self.target_height, self.target_width)
        batch.input_images, batch.input_masks = (self._blank(frames, inputs, n, *whole) for n in (3, 1))
        batch.target_images, batch.target_masks = (self._blank(frames, targets, n, *square) for n in (3, 1))
        return batch

    def batch_bytes(self, frames: int, *, inputs: int, targets: int) -> int:
        """Of the images and masks of a batch."""
        whole, target = self.height * self.width, self.target_height * self.target_width
        return 4 * 4 * frames * (inputs * whole + targets * target)

    def view_bytes(self) -> int:
        """What decoding a view of the largest camera takes: stored values twice, radiance, mask and coverage."""
        return max(camera.width * camera.height for camera in self._cameras) * (6 + 6 + 12 + 2 + 4)

    def members(self, sample: int, inputs: Sequence[int], targets: Sequence[int], *, cached: bool = True) -> list[str]:
        """Extensions of what ``fill`` will read; without ``cached`` as if nothing had been decoded before."""
        wanted: dict[str, None] = {}
        for camera, framing in self._views(inputs, targets):
            if not (cached and self._cache.holds((sample, camera, framing.by))):
                wanted.update(dict.fromkeys(self._decoder.members(sample, self._cameras[camera], framing)))
        if not (cached and self._cache.holds((sample, _LAMPS))):
            wanted.update(dict.fromkeys((META, LIGHT)))
        return list(wanted)

    def fill(
        self,
        batch: FrameBatch,
        row: int,
        sample: int,
        inputs: Sequence[int],
        targets: Sequence[int],
        members: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write a sample's views into a row of a batch; ``subject`` is left to the caller.

        Args:
            batch: from ``new_batch``.
            row: of the batch.
            sample: number in the shards.
            inputs, targets: camera numbers in the capture.
            members: those of ``members`` where they have been read, checked; None reads them.

        Raises:
            DamageError: a member is damaged, absent or no image of its camera.
        """
        if members is None:
            members = self._shards.read_members(sample, self.members(sample, inputs, targets))
        batch.keys[row] = self._shards.key(sample)
        for view, camera in enumerate(inputs):
            out = batch.input_images[row, view], batch.input_masks[row, view], batch.input_intrinsics[row, view]
            self._fill_view(sample, camera, self._whole, members, *out)
        for view, camera in enumerate(targets):
            out = batch.target_images[row, view], batch.target_masks[row, view], batch.intrinsics[row, view]
            self._fill_view(sample, camera, self._framing, members, *out)
        batch.input_world_to_camera.numpy()[row] = self._world_to_camera[inputs]
        batch.input_camera.numpy()[row] = inputs
        batch.world_to_camera.numpy()[row] = self._world_to_camera[targets]
        batch.camera.numpy()[row] = targets
        self._fill_lamps(sample, members, batch.lamp_directions[row], batch.lamp_irradiance[row])

    def _fill_view(
        self,
        sample: int,
        number: int,
        framing: Framing,
        members: Mapping[str, bytes],
        image_out: Float[Tensor, "3 H W"],
        mask_out: Float[Tensor, "1 H W"],
        intrinsics_out: Float[Tensor, "3 3"],
    ) -> None:
        camera, read = self._cameras[number], self._reading(sample, members)
        view = self._cache.get(
            (sample, number, framing.by), lambda: self._decoder.decode(sample, camera, framing, read)
        )
        window = self._decoder.write(camera, view, image_out.numpy(), mask_out.numpy()[0])
        intrinsics_out.numpy()[:] = window.intrinsics(camera, framing.width, framing.height)

    def _fill_lamps(
        self, sample: int, members: Mapping[str, bytes], directions_out: Tensor, irradiance_out: Tensor
    ) -> None:
        directions, irradiance = self._cache.get((sample, _LAMPS), lambda: self._lamps(sample, members))
        directions_out.zero_()
        irradiance_out.zero_()
        directions_out.numpy()[: len(directions)] = directions
        irradiance_out.numpy()[: len(irradiance)] = irradiance

    def _lamps(self, sample: int, members: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
        read = self._reading(sample, members)
        light = self._shards.describe(sample, {name: read(name) for name in (META, LIGHT)}).light
        return light.directions.astype(np.float32), light.irradiance.astype(np.float32)

    def _reading(self, sample: int, members: Mapping[str, bytes]) -> Read:
        """Members out of those given; one that has left the cache since they were chosen is read now."""
        return lambda name: members[name] if name in members else self._shards.read(sample, name)

    def _views(self, inputs: Sequence[int], targets: Sequence[int]) -> list[tuple[int, Framing]]:
        whole = [(camera, self._whole) for camera in inputs]
        return [*whole, *((camera, self._framing) for camera in targets)]

    def _blank(self, *shape: int) -> Tensor:
        return torch.from_numpy(self._pool.take(shape))


def training_subjects(info: CaptureInfo) -> tuple[str, ...]:
    """The subjects that a prior is trained on, in the order of their numbers."""
    return tuple(subject for subject in info.subjects if info.subject_splits[subject] == "train")


def training_keys(shards: ShardSet, most: int) -> list[str]:
    """Keys of the frames that a prior is trained on, at most so many, spread evenly over all."""
    trained = np.array([shards.info.subject_splits[subject] == "train" for subject in shards.info.subjects])
    samples = np.flatnonzero(trained[shards.subject] & ~shards.held_out)
    return [shards.key(sample) for sample in samples[:: max(1, -(-len(samples) // most))].tolist()]


def default_input_cameras(info: CaptureInfo) -> tuple[str, ...]:
    """The encoders' views where a recipe names none: three frontal training cameras of each rig."""
    chosen = [
        frontal_cameras([camera for camera in info.cameras if camera.split == "train" and camera.name in rig])
        for rig in info.rigs
    ]
    return tuple(name for names in chosen for name in names)


def inputs_of_parts(info: CaptureInfo, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The encoders' views of each of ``info.parts``: those cameras of ``names`` that stand in its rig, in order.

    Raises:
        VrmmError: rigs of which different numbers of cameras are named.
    """
    views = [tuple(name for name in names if name in part.cameras.values()) for part in info.parts]
    for part, own in zip(info.parts, views, strict=True):
        if len(own) != len(views[0]):
            raise VrmmError(
                f"input_cameras names {len(own)} cameras of {part.name} and {len(views[0])} of {info.parts[0].name}; "
                "name as many of each rig"
            )
    return views


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
        input_cameras: names of the encoder views, of which those in the frame's rig are taken; None takes those that
            training takes by default.

    Raises:
        VrmmError: no such sample or camera.
        DamageError: the sample is damaged or lacks a view.
    """
    names = default_input_cameras(shards.info) if input_cameras is None else tuple(input_cameras)
    reader = ViewReader(shards, [*names, *cameras], image_size=image_size)
    sample = shards.sample(key)
    inputs = inputs_of_parts(shards.info, names)[shards.source[sample]]
    batch = reader.new_batch(1, inputs=len(inputs), targets=len(cameras))
    reader.fill(batch, 0, sample, reader.camera_numbers(inputs), reader.camera_numbers(cameras))
    subject = shards.info.subjects[shards.subject[sample]]
    subjects = training_subjects(shards.info)
    batch.subject[0] = subjects.index(subject) if subject in subjects else -1
    return batch
