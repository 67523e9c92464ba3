"""What a training or evaluation step gets: frames, their views, cameras and lamps as tensors."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate


@dataclasses.dataclass(kw_only=True)
class FrameBatch:
    """B frames with Vi views for the encoders and Vt views to render, images as in ``datasets.capture``.

    There is no head pose and no expression in it: training does not track.

    Attributes:
        keys: sample keys.
        subject: number among the training subjects, -1 for any other.
        input_images, input_masks: linear radiance and coverage; a frame stored without masks has ones.
        input_world_to_camera, input_intrinsics: world frame, metres; pixels of these images.
        input_camera: number of each input view's camera in the capture.
        target_images, target_masks, world_to_camera, intrinsics: the same of the views to render, which may be of
            another shape.
        camera: number of each target view's camera in the capture.
        lamp_directions: unit vectors from the world origin to the lamps, world frame; zero where there is no lamp.
        lamp_irradiance: linear RGB, see ``Light``; zero where there is no lamp.
    """

    keys: list[str]
    subject: Int[Tensor, "B"]
    input_images: Float[Tensor, "B Vi 3 Hi Wi"]
    input_masks: Float[Tensor, "B Vi 1 Hi Wi"]
    input_world_to_camera: Float[Tensor, "B Vi 3 4"]
    input_intrinsics: Float[Tensor, "B Vi 3 3"]
    input_camera: Int[Tensor, "B Vi"]
    target_images: Float[Tensor, "B Vt 3 H W"]
    target_masks: Float[Tensor, "B Vt 1 H W"]
    world_to_camera: Float[Tensor, "B Vt 3 4"]
    intrinsics: Float[Tensor, "B Vt 3 3"]
    camera: Int[Tensor, "B Vt"]
    lamp_directions: Float[Tensor, "B L 3"]
    lamp_irradiance: Float[Tensor, "B L 3"]

    def __len__(self) -> int:
        return len(self.keys)

    @staticmethod
    def zeros(frames: int, *, inputs: int, targets: int, height: int, width: int, lamps: int) -> "FrameBatch":
        """A batch of that shape, to be filled."""
        return FrameBatch(
            keys=[""] * frames,
            subject=torch.zeros(frames, dtype=torch.int64),
            input_images=torch.zeros(frames, inputs, 3, height, width),
            input_masks=torch.zeros(frames, inputs, 1, height, width),
            input_world_to_camera=torch.zeros(frames, inputs, 3, 4),
            input_intrinsics=torch.zeros(frames, inputs, 3, 3),
            input_camera=torch.zeros(frames, inputs, dtype=torch.int64),
            target_images=torch.zeros(frames, targets, 3, height, width),
            target_masks=torch.zeros(frames, targets, 1, height, width),
            world_to_camera=torch.zeros(frames, targets, 3, 4),
            intrinsics=torch.zeros(frames, targets, 3, 3),
            camera=torch.zeros(frames, targets, dtype=torch.int64),
            lamp_directions=torch.zeros(frames, lamps, 3),
            lamp_irradiance=torch.zeros(frames, lamps, 3),
        )

    def to(self, device: torch.device | str) -> "FrameBatch":
        """The batch on another device."""
        return self._map(lambda tensor: tensor.to(device), self.keys)

    def rows(self, start: int, stop: int) -> "FrameBatch":
        """The frames ``start`` to ``stop``, sharing memory: the micro-batches of gradient accumulation."""
        return self._map(lambda tensor: tensor[start:stop], self.keys[start:stop])

    def with_halved_targets(self) -> "FrameBatch":
        """The same frames with the views to render at half the resolution."""
        views, (height, width) = self.target_images.shape[1], self.target_images.shape[-2:]
        size = (height // 2, width // 2)
        smaller = [
            interpolate(maps.flatten(0, 1), size=size, mode="area") for maps in (self.target_images, self.target_masks)
        ]
        images, masks = (maps.unflatten(0, (-1, views)) for maps in smaller)
        scale = self.intrinsics.new_tensor([size[1] / width, size[0] / height, 1.0])
        return dataclasses.replace(
            self, target_images=images, target_masks=masks, intrinsics=self.intrinsics * scale[:, None]
        )

    def _map(self, change: Callable[[Tensor], Tensor], keys: list[str]) -> "FrameBatch":
        names = (field.name for field in dataclasses.fields(self) if field.name != "keys")
        return FrameBatch(keys=keys, **{name: change(getattr(self, name)) for name in names})
