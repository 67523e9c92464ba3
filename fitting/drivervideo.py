"""A video of a person as photos: frames, landmarks and masks, cut by one square around the head."""

import dataclasses
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.images import linearise
from fitting.landmarks import COUNT
from fitting.matting import estimate_mask
from fitting.photo import Photo, cut_photo, head_square

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
SRGB = ImageEncoding(transfer="srgb", bits=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriverVideo:
    """The frames of a video in which there is a face.

    Attributes:
        photos: of them, all cut by one square.
        seconds: [T] when each was taken, from the first frame of the video.
        fps: of the photos where none is missing.
    """

    photos: list[Photo]
    seconds: Float[np.ndarray, "T"]
    fps: float


def read_driver_video(path: Path, size: int, fps: float) -> DriverVideo:
    """Frames of a video at most ``fps`` times a second, each with its 68 landmarks.

    Landmarks are in ``{stem}.lmk.npz`` beside the video: ``landmarks`` [T, 68, 2], one row a frame, pixels as in
    ``fitting.landmarks``, NaN where a frame shows no face. Masks are in ``{stem}.mask`` with one of the videos'
    endings, white where the head is; without it they are estimated.

    Args:
        path: of the video; sRGB.
        size: working size of the photos, pixels.
        fps: frames a second to use, at most.

    Raises:
        VrmmError: no video that can be read, no landmarks, none of a face, or another number of them than frames.
    """
    path = Path(path)
    points = _read_landmarks(path)
    step, rate = _step(path, fps)
    seen = [bool(np.isfinite(row).all()) for row in points]
    if not any(seen):
        raise VrmmError(f"{path} shows no face: its landmarks are NaN in every frame; film the face, or detect again")
    masks = _mask_file(path)
    coverage = _frames(masks) if masks is not None else None
    square: tuple[int, int, int] | None = None
    photos, seconds, count = [], [], 0
    for index, picture in enumerate(_frames(path)):
        count = index + 1
        mask = None if coverage is None else _next_mask(coverage, picture.shape[:2], masks)
        if index >= len(points) or index % step or not seen[index]:
            continue
        height, width = picture.shape[:2]
        square = square or head_square(points[seen].reshape(-1, 2), None, width, height)
        linear = linearise(picture, SRGB)
        source = "file" if mask is not None else "estimated"
        mask = estimate_mask(linear, points[index]) if mask is None else mask
        photos.append(cut_photo(f"{path.name} frame {index}", linear, mask, source, points[index], square, size))
        seconds.append(index / (rate * step))
    if count != len(points):
        raise VrmmError(f"{path} has {count} frames, but its landmarks are of {len(points)}; detect them again")
    if not photos:
        raise VrmmError(f"{path} shows no face in any frame that is used; use more frames a second, or film longer")
    return DriverVideo(photos=photos, seconds=np.array(seconds), fps=rate)


def write_video_landmarks(path: Path, points: Float[np.ndarray, "T 68 2"]) -> Path:
    """Write ``{stem}.lmk.npz`` beside the video ``path``; returns its path."""
    import io

    from datasets.files import atomic_write_bytes

    data = io.BytesIO()
    np.savez(data, landmarks=np.asarray(points, np.float32))
    target = path.with_suffix("").with_name(path.stem + ".lmk.npz")
    atomic_write_bytes(target, data.getvalue())
    return target


def _read_landmarks(path: Path) -> Float[np.ndarray, "T 68 2"]:
    if not path.is_file():
        raise VrmmError(f"video {path} does not exist")
    file = path.with_suffix("").with_name(path.stem + ".lmk.npz")
    if not file.is_file():
        raise VrmmError(f"{path} has no landmarks: put {file.name} (landmarks [frames, 68, 2]) beside it")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            points = arrays["landmarks"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VrmmError(f"{file} is not a landmark file of a video: {error}") from error
    if points.ndim != 3 or points.shape[1:] != (COUNT, 2) or points.dtype.kind != "f":
        raise VrmmError(f"{file} holds landmarks of shape {points.shape}; needed are (frames, {COUNT}, 2)")
    return points.astype(np.float64)


def _step(path: Path, fps: float) -> tuple[int, float]:
    """Every how manyth frame is used, and the rate of those; the file is opened for its rate alone."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except (FFmpegError, IndexError) as error:
        raise VrmmError(f"{path} is not a video that can be read: {error}") from error
    if not rate:
        raise VrmmError(f"{path} does not say how many frames a second it has; convert it to mp4")
    step = max(1, int(np.ceil(float(rate) / fps - 1e-6)))
    return step, float(rate) / step


def _frames(path: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """All frames, one in memory at a time, upright as a player shows them."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                yield np.rot90(picture, frame.rotation // 90) if frame.rotation else picture
    except (FFmpegError, IndexError) as error:
        raise VrmmError(f"{path} is not a video that can be read: {error}") from error


def _mask_file(path: Path) -> Path | None:
    stem = path.with_suffix("")
    candidates = [stem.with_name(f"{stem.name}.mask{suffix}") for suffix in SUFFIXES]
    return next((file for file in candidates if file.is_file()), None)


def _next_mask(
    frames: Iterator[UInt8[np.ndarray, "H W 3"]], shape: tuple[int, ...], path: Path | None
) -> Float[np.ndarray, "H W"]:
    picture = next(frames, None)
    if picture is None or picture.shape[:2] != shape:
        raise VrmmError(f"{path} has fewer frames than its video, or another size; make the masks again")
    return (picture.mean(axis=2) / 255.0).astype(np.float32)
