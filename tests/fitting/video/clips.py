"""A short film of the small model's head, whose every cause is known: as a folder of pictures and as a video file."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.images import encode_mask, encode_radiance
from fitting.camerafile import PhotoCamera, write_camera_file
from fitting.inputs import PHOTO
from fitting.landmarks import write_landmarks
from fitting.objective import CarriedLandmarks
from fitting.rendering import render_solution
from fitting.state import Solution
from fitting.video.frames import TO_CAMERA
from prior.cameras import CameraBatch
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM
from tests.fitting.tiny import RENDERING

SIZE = 32
FOCAL = 102.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """T frames of a head that turns, nods and talks in the light of a room before a camera that stands still."""

    solution: Solution
    images: Float[Tensor, "T 3 H W"]
    masks: Float[Tensor, "T 1 H W"]
    landmarks: Float[Tensor, "T 68 2"]

    @property
    def stored(self) -> list[np.ndarray]:
        """Pictures with full colour where the mask is partial, bright enough for 8 bits."""
        color = self.images / self.masks.clamp(min=1 / 255)
        color = 0.3 * color / color.mean()
        return [picture.permute(1, 2, 0).numpy() for picture in color]


def film(model: VRMM, frames: int) -> Film:
    """The truth."""
    at = torch.arange(frames, dtype=torch.float32) / 12.0
    turn = torch.stack([0.1 * torch.sin(5 * at), 0.45 * torch.sin(3 * at), 0.05 * at], dim=1)
    codes = torch.randn(2, model.config.expression, generator=torch.Generator().manual_seed(2))
    mix = torch.stack([torch.sin(2.0 * math.pi * at), torch.cos(2.0 * math.pi * at)], dim=1)
    cameras = CameraBatch(
        world_to_camera=torch.tensor(TO_CAMERA, dtype=torch.float32).expand(frames, 3, 4),
        intrinsics=torch.tensor([[FOCAL, 0.0, 16.0], [0.0, FOCAL, 16.0], [0.0, 0.0, 1.0]]).expand(frames, 3, 3),
        height=SIZE,
        width=SIZE,
    )
    weights = torch.tensor([0.6, -0.2, 0.4, 0.3, -0.1])
    rotation = rotation_from_axis_angle(turn)
    solution = Solution(
        z_id=weights[None] @ model.identity_codes.weight,
        weights=weights,
        z_e=0.4 * mix @ codes,
        light=0.03 * (1.0 + 0.8 * model.light_sphere.directions[:, :1]).expand(-1, 3).contiguous(),
        rotation=rotation,
        translation=torch.stack([0.01 * torch.sin(4 * at), 0.005 * at, -1.0 + 0.0 * at], dim=1),
        cameras=cameras,
        light_rotation=rotation[0],
    )
    with torch.no_grad():
        rendered = render_solution(model, solution, RENDERING)
        world = CarriedLandmarks(model)(rendered.vertices) @ solution.rotation.transpose(1, 2)
        landmarks = cameras.project(world + solution.translation[:, None])
    return Film(
        solution=solution, images=rendered.image.clamp(min=0.0), masks=rendered.alpha.clamp(0, 1), landmarks=landmarks
    )


def write_folder(film: Film, folder: Path) -> Path:
    """Pictures numbered without leading zeros, with masks and landmarks."""
    folder.mkdir(parents=True)
    for row, picture in enumerate(film.stored):
        path = folder / f"frame{row}.png"
        path.write_bytes(encode_radiance(picture, PHOTO))
        path.with_name(f"{path.stem}.mask.png").write_bytes(encode_mask(film.masks[row, 0].numpy()))
        write_landmarks(path, film.landmarks[row].double().numpy())
    return folder


def write_lens(path: Path, *names: str) -> Path:
    """A camera file with the film's lens."""
    lens = np.array([[FOCAL, 0.0, 16.0], [0.0, FOCAL, 16.0], [0.0, 0.0, 1.0]])
    camera = PhotoCamera(intrinsics=lens, width=SIZE, height=SIZE, world_to_camera=None)
    write_camera_file(path, {name: camera for name in names})
    return path


def encode(path: Path, pictures: list[np.ndarray], fps: int = 24, codec: str = "libx264rgb") -> Path:
    """A video file without loss."""
    import av

    options = {"qp": "0"} if codec == "libx264rgb" else {"crf": "1"}
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def eight_bits(linear: np.ndarray) -> np.ndarray:
    """sRGB, as ``encode_radiance`` stores it."""
    import cv2

    stored = cv2.imdecode(np.frombuffer(encode_radiance(linear, PHOTO), np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None
    return np.ascontiguousarray(stored[..., ::-1])
