"""A small capture in memory: random images that depend on subject, frame and camera, lamps that vary in number."""

import zlib
from collections.abc import Sequence

import numpy as np

from datasets.capture import Camera, Capture, CaptureInfo, Frame, ImageEncoding, Light, Pose
from datasets.images import encode_mask, encode_radiance

PER_SHARD = 3  # frames, in the shards that the fixtures make of it


def look_at_origin(name: str, center: Sequence[float], *, width: int, height: int, split: str = "train") -> Camera:
    """A camera at ``center`` (metres) that looks at the world origin."""
    center = np.asarray(center, np.float64)
    forward = -center / np.linalg.norm(center)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 20.0 + len(name)  # cameras must differ, or a test cannot tell them apart
    intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal + 1.0, height / 2], [0.0, 0.0, 1.0]])
    world_to_camera = np.concatenate([rotation, (-rotation @ center)[:, None]], axis=1)
    return Camera(
        name=name, world_to_camera=world_to_camera, intrinsics=intrinsics, width=width, height=height, split=split
    )


def on_ring(azimuth_degrees: float) -> tuple[float, float, float]:
    """A place one metre from the origin at eye height; 0 is straight ahead, positive to the subject's left."""
    angle = np.deg2rad(azimuth_degrees)
    return float(np.sin(angle)), 0.0, float(np.cos(angle))


class TinyCapture(Capture):
    """``subjects`` × ``frames`` frames; the last subject and every fifth frame are held out if ``splits``.

    Captures of another ``name`` have other pictures and lamps; ``turn`` (degrees) places the rig elsewhere.
    """

    def __init__(
        self,
        *,
        subjects: int = 3,
        frames: int = 4,
        encoding: ImageEncoding | None = None,
        splits: bool = True,
        masks: bool = True,
        size: tuple[int, int] = (16, 12),
        name: str = "tiny",
        turn: float = 0.0,
        flat_lit: bool = False,
    ) -> None:
        self._seed = () if name == "tiny" else (name,)
        self._flat_lit = flat_lit
        names = tuple(f"s{number}" for number in range(subjects))
        angles = {"back": 180, "left": 40, "front": 2, "right": -33, "top": 10, "spare": -70}
        width, height = size
        cameras = [
            look_at_origin(camera, on_ring(angle + turn), width=width, height=height)
            for camera, angle in angles.items()
        ]
        cameras.append(look_at_origin("hidden", on_ring(15 + turn), width=width, height=height, split="held_out"))
        self._info = CaptureInfo(
            name=name,
            cameras=tuple(cameras),
            subjects=names,
            subject_splits={name: "held_out" if splits and name == names[-1] else "train" for name in names},
            light_positions=np.zeros((0, 3)),
            encoding=encoding or ImageEncoding(),
            licence="made for tests",
            synthetic=None,
        )
        self._masks = masks
        self._frames = [self._frame(name, index, splits) for name in names for index in range(frames)]

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return self._frames

    def image(self, key: str, camera: str) -> np.ndarray:
        """The truth: [H, W, 3] float32 radiance."""
        shape = (self._info.cameras[0].height, self._info.cameras[0].width, 3)
        return _random(key, camera, *self._seed).random(shape, dtype=np.float32)

    def mask(self, key: str, camera: str) -> np.ndarray:
        """The truth: [H, W] float32, a multiple of 1/255."""
        shape = (self._info.cameras[0].height, self._info.cameras[0].width)
        return _random(key, camera, "mask", *self._seed).integers(0, 256, shape).astype(np.float32) / np.float32(255.0)

    def members(self, frame: Frame) -> dict[str, bytes]:
        members = {}
        for camera in self._info.cameras:
            members[f"{camera.name}.rgb.png"] = encode_radiance(self.image(frame.key, camera.name), self._info.encoding)
            if self._masks:
                members[f"{camera.name}.mask.png"] = encode_mask(self.mask(frame.key, camera.name))
        return members

    def _frame(self, subject: str, index: int, splits: bool) -> Frame:
        rng = _random(subject, str(index), *self._seed)
        lamps = 8 if self._flat_lit else 1 + index % 3
        return Frame(
            subject=subject,
            sequence="talk",
            index=index,
            split="held_out" if splits and index % 5 == 4 else "train",
            light=Light(positions=rng.normal(size=(lamps, 3)), irradiance=rng.random((lamps, 3))),
            light_pattern=f"p{lamps}",
            full_on=self._flat_lit or index == 0,
            nearest_full_on=f"{subject}_talk_000000",
            pose=Pose(rotation=np.eye(3), translation=rng.normal(size=3)),
            expression=tuple(rng.random(4).tolist()),
        )


def _random(*parts: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(parts).encode()))
