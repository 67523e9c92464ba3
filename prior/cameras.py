"""Rays of pinhole cameras in torch (conventions in ``datasets.capture``)."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraBatch:
    """Cameras of one image size.

    Attributes:
        world_to_camera: [B, 3, 4], OpenCV axes, metres.
        intrinsics: [B, 3, 3], pixels, first pixel centre at (0.5, 0.5).
        height, width: pixels.
    """

    world_to_camera: Float[Tensor, "B 3 4"]
    intrinsics: Float[Tensor, "B 3 3"]
    height: int
    width: int

    @staticmethod
    def stack(cameras: list[Camera]) -> "CameraBatch":
        """Cameras of equal size as one batch in float32."""
        return CameraBatch(
            world_to_camera=torch.tensor([c.world_to_camera.tolist() for c in cameras]),
            intrinsics=torch.tensor([c.intrinsics.tolist() for c in cameras]),
            height=cameras[0].height,
            width=cameras[0].width,
        )

    @property
    def centers(self) -> Float[Tensor, "B 3"]:
        """Centres of projection, world frame, metres."""
        rotation, translation = self.world_to_camera[:, :, :3], self.world_to_camera[:, :, 3]
        return -(rotation.transpose(1, 2) @ translation[..., None]).squeeze(-1)

    def resized(self, height: int, width: int) -> "CameraBatch":
        """The same cameras with their images resampled."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1.0])
        return dataclasses.replace(self, intrinsics=self.intrinsics * scale[:, None], height=height, width=width)

    def rays(self) -> tuple[Float[Tensor, "B R 3"], Float[Tensor, "B R 3"]]:
        """(origin, unit direction) through every pixel centre, row by row, world frame."""
        device, dtype = self.intrinsics.device, self.intrinsics.dtype
        y, x = torch.meshgrid(
            torch.arange(self.height, device=device, dtype=dtype) + 0.5,
            torch.arange(self.width, device=device, dtype=dtype) + 0.5,
            indexing="ij",
        )
        pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)
        to_world = torch.linalg.inv(self.intrinsics @ self.world_to_camera[:, :, :3])
        directions = torch.nn.functional.normalize(pixels @ to_world.transpose(1, 2), dim=-1)
        return self.centers[:, None].expand_as(directions), directions

    def project(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 2"]:
        """World points (metres) to pixels."""
        in_camera = points @ self.world_to_camera[:, :, :3].transpose(1, 2) + self.world_to_camera[:, None, :, 3]
        pixels = in_camera @ self.intrinsics.transpose(1, 2)
        return pixels[..., :2] / pixels[..., 2:]


def near_far_of_sphere(
    origin: Float[Tensor, "B R 3"],
    direction: Float[Tensor, "B R 3"],
    center: Float[Tensor, "B 3"],
    radius: float,
) -> Float[Tensor, "B R 2"]:
    """Where rays enter and leave a sphere; an empty range (near > far by a hair) where they miss it."""
    offset = origin - center[:, None]
    middle = -(offset * direction).sum(-1)
    miss = (offset * offset).sum(-1) - middle**2
    half = (radius**2 - miss).clamp(min=0.0).sqrt()
    return torch.stack([(middle - half).clamp(min=0.0), (middle + half).clamp(min=0.0)], dim=-1)
