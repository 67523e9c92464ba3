"""What a capture truly is, before a fixture writes it down as some data set would: cameras, lamps, pictures."""

import dataclasses
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.capture import Camera

POINTS = np.random.default_rng(7).uniform(-0.12, 0.12, (20, 3))
"""Metres, our world: on and around a head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """Where a data set has its world: ``x_theirs = rotation @ x_ours / metres + shift`` (shift in their units)."""

    rotation: np.ndarray
    metres: float
    shift: np.ndarray

    def points(self, ours: np.ndarray) -> np.ndarray:
        return ours @ self.rotation.T / self.metres + self.shift

    def world_to_camera(self, camera: Camera) -> np.ndarray:
        """[3, 4] in their units: x_ours = metres * rotation^T (x - shift), put into x_camera / metres."""
        rotation = camera.world_to_camera[:, :3] @ self.rotation.T
        translation = camera.world_to_camera[:, 3] / self.metres - rotation @ self.shift
        return np.concatenate([rotation, translation[:, None]], axis=1)

    def head_to_world(self, rotation: np.ndarray, translation: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """[3, 4] their head (our head's axes are ``axes`` in it) to their world."""
        return np.concatenate([self.rotation @ rotation @ axes.T, self.points(translation[None]).T], axis=1)


MILLIMETRES = World(
    rotation=np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),  # y down, z forward
    metres=0.001,
    shift=np.array([12.0, -40.0, 1030.0]),
)
Z_UP = World(
    rotation=np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), metres=1.0, shift=np.array([0.1, -0.2, 1.3])
)


def ring(names: Sequence[str], size: tuple[int, int], *, spread: float = 120.0, distance: float = 1.1) -> list[Camera]:
    """Cameras over ``spread`` degrees in front of the head, at different heights; their middles see the origin."""
    width, height = size
    cameras = []
    for i, name in enumerate(names):
        azimuth = np.deg2rad(np.linspace(-spread / 2, spread / 2, len(names))[i])
        rise = np.deg2rad(8.0 + (-1) ** min(i, len(names) - 1 - i) * 12.0)  # mirrored, so that the middle is the front
        forward = -np.array([np.sin(azimuth) * np.cos(rise), np.sin(rise), np.cos(azimuth) * np.cos(rise)])
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        focal = (2.2 + 0.1 * i) * max(size)  # cameras must differ, or a test cannot tell them apart
        intrinsics = np.array([[focal, 0.0, width / 2 + 1.3], [0.0, 1.01 * focal, height / 2 - 0.7], [0.0, 0.0, 1.0]])
        # The ray through the middle of the picture goes through the origin, not that of the principal point.
        middle = np.linalg.solve(intrinsics, [width / 2, height / 2, 1.0]) * distance
        world_to_camera = np.concatenate([rotation, middle[:, None]], axis=1)
        cameras.append(
            Camera(name=name, world_to_camera=world_to_camera, intrinsics=intrinsics, width=width, height=height)
        )
    return cameras


def with_lens(camera: Camera, intrinsics: np.ndarray, *, distance: float = 1.1) -> Camera:
    """A camera of a ring with another lens; the middle of its picture still sees the origin."""
    middle = np.linalg.solve(intrinsics, [camera.width / 2, camera.height / 2, 1.0]) * distance
    world_to_camera = np.concatenate([camera.world_to_camera[:, :3], middle[:, None]], axis=1)
    return dataclasses.replace(camera, intrinsics=intrinsics, world_to_camera=world_to_camera)


def pixel_centres(camera: Camera) -> np.ndarray:
    """[H, W, 2] x, y."""
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


def radiance(camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
    """[H, W, 3] linear, at pixels [H, W, 2]: different for every camera and frame, smooth enough for any codec."""
    x, y = np.moveaxis((pixel_centres(camera) if at is None else at) / [camera.width, camera.height], -1, 0)
    phase = 0.3 * number + int.from_bytes(camera.name.encode()[-2:]) % 7
    waves = [0.4 * np.sin(2.0 * x + phase), 0.3 * np.cos(3.0 * y + phase), 0.25 * np.sin(2.0 * x + 2.0 * y)]
    return (0.7 * (np.stack(waves, axis=-1) + [0.5, 0.35, 0.3])).astype(np.float32)


def behind_the_lens(camera: Camera, distortion: np.ndarray) -> np.ndarray:
    """[H, W, 2] where a pinhole camera sees what the lens (k1, k2, p1, p2[, k3]) shows in the middle of each pixel."""
    k1, k2, p1, p2, k3 = [*distortion, 0.0][:5]
    focal, centre = np.diag(camera.intrinsics)[:2], camera.intrinsics[:2, 2]
    bent = (pixel_centres(camera) - centre) / focal
    straight = bent
    for _ in range(30):
        x, y = straight[..., 0], straight[..., 1]
        square = x**2 + y**2
        radial = 1 + k1 * square + k2 * square**2 + k3 * square**3
        shift = [2 * p1 * x * y + p2 * (square + 2 * x**2), p1 * (square + 2 * y**2) + 2 * p2 * x * y]
        straight = (bent - np.stack(shift, axis=-1)) / radial[..., None]
    return straight * focal + centre


def mask(camera: Camera, at: np.ndarray | None = None) -> np.ndarray:
    """[H, W] 0 or 1, at pixels [H, W, 2]: an ellipse that is not in the middle."""
    x, y = np.moveaxis((pixel_centres(camera) if at is None else at) / [camera.width, camera.height], -1, 0)
    return (((x - 0.55) / 0.3) ** 2 + ((y - 0.45) / 0.35) ** 2 < 1.0).astype(np.float32)


class Shown(Protocol):
    """What the cameras of a fixture see: of every frame and camera, at pixels [H, W, 2] or in the middle of each."""

    def radiance(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        """[H, W, 3] linear, with the background."""
        ...

    def mask(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        """[H, W] in [0, 1]."""
        ...


class Waves:
    """``radiance`` and ``mask`` above: smooth, so that tolerances can be those of the codec."""

    def radiance(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        return radiance(camera, number, at)

    def mask(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        return mask(camera, at)


WAVES = Waves()


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, written down a second time."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_bytes(fraction: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(fraction, 0.0, 1.0) * 255.0).astype(np.uint8)


def picture_bytes(stored: np.ndarray, kind: str) -> bytes:
    """uint8 [H, W, 3] or [H, W] as ``avif``, ``jpg`` or ``png``."""
    from PIL import Image

    data = io.BytesIO()
    settings = {"avif": {"quality": 92, "subsampling": "4:4:4", "speed": 9}, "jpg": {"quality": 95}}.get(kind, {})
    Image.fromarray(stored).save(data, {"jpg": "JPEG"}.get(kind, kind.upper()), **settings)
    return data.getvalue()


def codec_error(stored: np.ndarray, kind: str) -> float:
    """The most by which the codec itself, and the rounding before it, change a value of [0, 1]."""
    from PIL import Image

    decoded = np.array(Image.open(io.BytesIO(picture_bytes(stored, kind))))
    levels = np.abs(decoded.astype(float) - stored).max()
    assert levels < 8, "too coarse to prove anything"
    return (levels + 0.51) / 255.0


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Members stored or deflated by turns: data sets do either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, data) in enumerate(members.items()):
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
