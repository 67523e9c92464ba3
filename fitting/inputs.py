"""Photos as a user has them, made from a capture: 8-bit sRGB, a mask, noisy landmarks, and the cameras apart."""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from datasets.images import decode_mask, decode_radiance, encode_mask, encode_radiance
from datasets.shards import ShardSet
from fitting.camerafile import PhotoCamera, write_camera_file
from fitting.landmarks import write_landmarks

LANDMARKS = "lmk.npz"
CAMERAS = "cameras.json"
PHOTO = ImageEncoding(transfer="srgb", bits=8)


def subject_frames(shards: ShardSet, subject: str) -> list[Frame]:
    """All frames of a subject in capture order. Raises VrmmError where there are none."""
    frames = [shards.frame(sample) for sample in range(len(shards))]
    own = [frame for frame in frames if frame.subject == subject]
    if not own:
        raise VrmmError(f"{shards.folder} has no frames of subject {subject}")
    return own


def prepare_inputs(
    shards: ShardSet, frame: Frame, cameras: Sequence[str], out: Path, *, noise: float = 0.5, seed: int = 0
) -> list[Path]:
    """Write ``{subject}_{camera}.png`` with ``.mask.png`` and ``.lmk.npz`` for each camera, and ``cameras.json``.

    Args:
        shards: of a synthetic capture, whose samples hold landmarks.
        frame: the moment that is photographed.
        cameras: names of the cameras.
        out: folder of the photos.
        noise: standard deviation of the landmarks' error, pixels: a detector's, roughly.
        seed: of that error.

    Returns:
        The photos, in the order of ``cameras``.

    Raises:
        VrmmError: an unknown camera, or a frame without landmarks.
    """
    sample, paths, known = shards.sample(frame.key), [], {}
    points = _landmarks(shards, sample, cameras)
    for index, name in enumerate(cameras):
        camera, member = shards.info.camera(name), shards.image_member(sample, name)
        if member is None:
            raise VrmmError(f"frame {frame.key} has no picture of camera {name}")
        mask_member = shards.mask_member(sample, name)
        if mask_member is None:
            raise VrmmError(f"frame {frame.key} has no mask of camera {name}")
        radiance = decode_radiance(shards.read(sample, member), member, shards.info.encoding_of(camera), frame.key)
        mask = decode_mask(shards.read(sample, mask_member), frame.key)
        path = out / f"{frame.subject}_{name}.png"
        write_photo(path, radiance, mask, detected(points[index], noise, seed, f"{frame.key}/{name}"))
        known[path.name] = PhotoCamera(
            intrinsics=camera.intrinsics,
            width=camera.width,
            height=camera.height,
            world_to_camera=camera.world_to_camera,
        )
        paths.append(path)
    write_camera_file(out / CAMERAS, known)
    return paths


def write_photo(
    path: Path,
    radiance: Float[np.ndarray, "H W 3"],
    mask: Float[np.ndarray, "H W"],
    landmarks: Float[np.ndarray, "68 2"],
) -> None:
    """A photo of 8-bit sRGB before black, with its mask and landmarks beside it.

    Args:
        path: of the PNG.
        radiance: linear RGB, premultiplied by ``mask``.
        mask: coverage of the head.
        landmarks: pixels.
    """
    atomic_write_bytes(path, encode_radiance(over_black(radiance, mask), PHOTO))
    atomic_write_bytes(path.with_name(f"{path.stem}.mask.png"), encode_mask(mask))
    write_landmarks(path, landmarks)


def detected(points: Float[np.ndarray, "68 2"], noise: float, seed: int, name: str) -> Float[np.ndarray, "68 2"]:
    """Landmarks as a detector gives them: true ones with an error that is a function of ``seed`` and ``name``."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return points + noise * random.standard_normal(points.shape)


def over_black(radiance: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """The picture that a camera takes before a black background, with full colour where the mask is partial.

    Captured pictures are premultiplied; a photo is multiplied by its mask when it is read.
    """
    return radiance / np.maximum(mask, 1.0 / 255.0)[..., None] * (mask > 0)[..., None]


def _landmarks(shards: ShardSet, sample: int, cameras: Sequence[str]) -> Float[np.ndarray, "C 68 2"]:
    key = shards.key(sample)
    if not shards.has(sample, LANDMARKS):
        raise VrmmError(f"frame {key} has no {LANDMARKS}; photos can only be made from captures with landmarks")
    with np.load(io.BytesIO(shards.read(sample, LANDMARKS)), allow_pickle=False) as arrays:
        names, points = arrays["cameras"].tolist(), arrays["points"]
    own = {camera: shards.own_name(sample, camera) for camera in cameras}
    missing = [camera for camera in cameras if own[camera] not in names]
    if missing:
        raise VrmmError(f"frame {key} has no landmarks in camera {missing[0]}")
    return np.stack([points[names.index(own[camera])] for camera in cameras]).astype(np.float64)
