"""What a video truly shows: a head with known points that moves before a camera, as pictures and numbers."""

import dataclasses
import io
import json
import zlib
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.capture import Camera, CaptureInfo, Frame, ImageEncoding
from datasets.images import decode_mask, decode_radiance
from datasets.readers.tracked import TrackedReader
from tests.datasets.readers import truth

POINTS = np.array([[0.0, 0.0, 0.09], [-0.07, 0.02, 0.04], [0.06, 0.05, 0.05], [0.02, -0.055, 0.07]])
"""[4, 3] metres in the head's axes: x to its left, y up, z out of the face."""

BLOB = 2.5  # pixels, standard deviation
_WINDOW = 9
_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])  # of a head that looks at the camera, in the camera's OpenCV axes


@dataclasses.dataclass(frozen=True)
class Scene:
    """T frames of a head that turns and shifts, again and again, a little more to the side each time."""

    width: int = 96
    height: int = 80
    frames: int = 5
    lefthanded: bool = False

    @property
    def intrinsics(self) -> np.ndarray:
        return np.array([[210.0, 0.0, 51.3], [0.0, 205.0, 37.9], [0.0, 0.0, 1.0]])

    def head(self, frame: int) -> np.ndarray:
        """[3, 4] head to camera, OpenCV axes, metres."""
        again, step = divmod(frame, 5)
        turn = Rotation.from_euler("yxz", [0.1 * (step - 2), 0.05 * step, -0.03 * step]).as_matrix()
        place = np.array([0.004 * (step - 2) - 0.005 * again, -0.003 * step, 0.5 + 0.01 * step])
        return np.concatenate([_CAMERA_AXES @ turn, place[:, None]], axis=1)

    def in_camera(self, frame: int, points: np.ndarray = POINTS) -> np.ndarray:
        head = self.head(frame)
        return points @ head[:, :3].T + head[:, 3]

    def pixels(self, frame: int, points: np.ndarray = POINTS) -> np.ndarray:
        """[N, 2] where the points are seen; the first pixel's centre is at (0.5, 0.5)."""
        projected = self.in_camera(frame, points) @ self.intrinsics.T
        return projected[:, :2] / projected[:, 2:]

    def radiance(self, frame: int) -> np.ndarray:
        """[H, W, 3] linear: a bright spot at each point, before a dark slope."""
        x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        image = np.stack([0.02 + 0.01 * x / self.width, 0.03 + 0.0 * x, 0.02 + 0.02 * y / self.height], axis=-1)
        for u, v in self.pixels(frame):
            spot = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2.0 * BLOB**2))
            image += spot[..., None] * [0.5, 0.8, 0.4]
        return image

    def stored(self, frame: int) -> np.ndarray:
        """The radiance as 8-bit sRGB."""
        return truth.to_bytes(truth.srgb(self.radiance(frame)))

    def mask(self, frame: int) -> np.ndarray:
        """[H, W] 0 to 255, other in every frame, soft at its edge."""
        x, y = np.meshgrid(np.arange(self.width), np.arange(self.height))
        distance = np.hypot((x - 50.0 - frame) / 30.0, (y - 38.0) / 34.0)
        return np.rint(255.0 * np.clip((1.1 - distance) * 10.0, 0.0, 1.0)).astype(np.uint8)

    def rgba(self, frame: int) -> np.ndarray:
        return np.concatenate([self.stored(frame), self.mask(frame)[..., None]], axis=-1)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """PNG or JPEG, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(truth.picture_bytes(pixels, path.suffix[1:]))


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit_json(path: Path, change) -> None:
    """``change`` alters the value in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))  # NaN is written as NaN, which Python reads


def arrays(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as opened:
        return dict(opened)


def only_camera(info: CaptureInfo) -> Camera:
    (camera,) = info.cameras
    return camera


def seen_by_pose(reader: TrackedReader, frame: Frame) -> np.ndarray:
    """[N, 2] where the reader's camera and head pose put the known points."""
    assert frame.pose is not None
    assert np.linalg.det(frame.pose.rotation) > 0.99
    return only_camera(reader.info).project(POINTS @ frame.pose.rotation.T + frame.pose.translation)


def seen_by_model(reader: TrackedReader, frame: Frame, points: np.ndarray = POINTS) -> np.ndarray:
    """The same by ``model_to_world`` of ``geom.npz``; ``points`` in the tracker's axes, metres."""
    motion = arrays(reader.members(frame)["geom.npz"])["model_to_world"]
    return only_camera(reader.info).project(points @ motion[:, :3].T + motion[:, 3])


def spots(reader: TrackedReader, frame: Frame) -> np.ndarray:
    """[N, 2] the centres of the bright spots in the stored picture, near where ``Scene`` has put them."""
    members = reader.members(frame)
    (name,) = [name for name in members if ".rgb." in name]
    return centres(decode_radiance(members[name], name, reader.info.encoding)[..., 1] - 0.03)


def centres(image: np.ndarray) -> np.ndarray:
    """Centroids of the four brightest spots of [H, W], the first pixel's centre at (0.5, 0.5); sorted."""
    found, image = [], np.pad(image, _WINDOW)
    for _ in POINTS:
        row, column = np.unravel_index(np.argmax(image), image.shape)
        part = image[row - _WINDOW : row + _WINDOW + 1, column - _WINDOW : column + _WINDOW + 1]
        offset = np.arange(-_WINDOW, _WINDOW + 1)
        found.append([column + (part.sum(0) @ offset) / part.sum(), row + (part.sum(1) @ offset) / part.sum()])
        part[:] = 0.0
    return by_x(np.array(found) + 0.5 - _WINDOW)


def by_x(points: np.ndarray) -> np.ndarray:
    return points[np.argsort(points[:, 0])]


def check_picture(
    members: dict[str, bytes], scene: Scene, frame: int, *, name: str = "camera", error: float = 0.0
) -> None:
    """Radiance within the codec's error (levels of 255 beyond rounding), and the mask exactly."""
    (picture,) = [member for member in members if member.startswith(f"{name}.rgb.")]
    encoding = ImageEncoding(transfer="srgb", bits=8)
    read = truth.srgb(decode_radiance(members[picture], picture, encoding))
    assert np.abs(read - truth.srgb(scene.radiance(frame))).max() <= (0.51 + error) / 255.0
    np.testing.assert_array_equal(np.rint(decode_mask(members[f"{name}.mask.png"]) * 255.0), scene.mask(frame))


def bomb() -> bytes:
    """A PNG of a hundred bytes that declares 60000 × 60000 pixels."""
    import struct

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        + bytes(100)
    )
