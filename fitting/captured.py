"""A capture's own frames as photos: calibrated cameras, masks and landmarks as far as the capture has them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.capture import CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.folder import CAPTURE, FolderCapture
from datasets.images import decode_mask, decode_radiance, display
from datasets.manifest import MANIFEST
from datasets.shards import open_shards
from fitting.camerafile import PhotoCamera
from fitting.inputs import LANDMARKS, over_black
from fitting.landmark_schemes import to_68
from fitting.landmarks import LandmarkFiles, LandmarkSource, Picture
from fitting.photo import Photo, check_inside, cut_photo, find_landmarks, head_square
from fitting.views import MAX_PHOTOS


def is_capture(folder: Path) -> bool:
    """A capture's folder or its shards."""
    return (Path(folder) / CAPTURE).is_file()


def captured_photos(
    folder: Path,
    frames: Sequence[str],
    cameras: Sequence[str],
    size: int,
    landmarks: LandmarkSource | None = None,
    face: int | None = None,
) -> list[Photo]:
    """Frames of one person in some cameras.

    The pictures of one frame are of one moment, so their cameras share a world. Of several frames only the lenses
    are used, because the head moves from one to the next.

    Args:
        folder: of a capture or its shards.
        frames: keys.
        cameras: names; empty for all, as far as they are not too many.
        size: working size, pixels.
        landmarks: asked where a frame has no ``lmk.npz`` for a camera.
        face: its number from the left where there are several.

    Raises:
        VrmmError: no frames named, an unknown frame or camera, several people, or no landmarks.
    """
    source = _open(Path(folder))
    if not frames:
        raise VrmmError(f"{folder} is a capture; choose what to fit with --frame, for example --frame {source.first()}")
    chosen = [source.frame(key) for key in frames]
    if len({frame.subject for frame in chosen}) > 1:
        raise VrmmError(f"frames {', '.join(frames)} are of several people; an avatar is of one")
    names = list(cameras) or [camera.name for camera in source.info.cameras]
    if len(names) * len(frames) > MAX_PHOTOS:
        raise VrmmError(
            f"{len(frames)} frames in {len(names)} cameras are {len(names) * len(frames)} photos, and a fit takes "
            f"{MAX_PHOTOS}; choose cameras with --view, for example --view {names[0]}"
        )
    placed = len(frames) == 1
    return [
        _photo(source, frame, name, size, placed, landmarks or LandmarkFiles(), face)
        for frame in chosen
        for name in names
    ]


class _Source:
    """Frames and members of a capture, from its folder or its shards. Final."""

    def __init__(
        self,
        folder: Path,
        info: CaptureInfo,
        keys: Callable[[], Sequence[str]],
        frame: Callable[[str], Frame],
        members: Callable[[Frame], dict[str, bytes]],
    ) -> None:
        self.folder, self.info = folder, info
        self._keys, self.frame, self.members = keys, frame, members

    def first(self) -> str:
        """The key of one frame."""
        keys = self._keys()
        if not keys:
            raise VrmmError(f"{self.folder} has no frames")
        return keys[0]


def _open(folder: Path) -> _Source:
    if (folder / MANIFEST).is_file():
        shards = open_shards(folder)

        def members(frame: Frame) -> dict[str, bytes]:
            sample = shards.sample(frame.key)
            return {name: shards.read(sample, name) for name in shards.extensions(sample)}

        return _Source(
            folder,
            shards.info,
            lambda: [shards.key(0)] if len(shards) else [],
            lambda key: shards.frame(shards.sample(key)),
            members,
        )
    capture = FolderCapture(folder)

    def frame(key: str) -> Frame:
        found = next((frame for frame in capture.frames() if frame.key == key), None)
        if found is None:
            raise VrmmError(f"{folder} has no frame {key}")
        return found

    return _Source(folder, capture.info, lambda: [frame.key for frame in capture.frames()], frame, capture.members)


def _photo(
    source: _Source, frame: Frame, name: str, size: int, placed: bool, landmarks: LandmarkSource, face: int | None
) -> Photo:
    camera, members = source.info.camera(name), source.members(frame)
    extension = next((member for member in members if member.startswith(f"{name}.rgb.")), None)
    if extension is None:
        raise VrmmError(f"frame {frame.key} has no picture of camera {name}")
    radiance = decode_radiance(members[extension], extension, source.info.encoding, frame.key)
    mask_member = members.get(f"{name}.mask.png")
    mask = np.ones(radiance.shape[:2], np.float32) if mask_member is None else decode_mask(mask_member, frame.key)
    picture = Picture(
        path=source.folder / f"{frame.key}.{extension}", rgb=np.rint(255.0 * display(radiance)).astype(np.uint8)
    )
    points = _captured_landmarks(members, name, frame.key)
    if points is None:
        points = find_landmarks(picture, landmarks, face)
    height, width = radiance.shape[:2]
    check_inside(points, width, height, f"{frame.key}.{name}")
    kind = "estimated" if mask_member is None else "file"
    square = head_square(points, None if mask_member is None else mask, width, height)
    known = PhotoCamera(
        intrinsics=camera.intrinsics,
        width=width,
        height=height,
        world_to_camera=camera.world_to_camera if placed else None,
    )
    return cut_photo(f"{frame.key}.{name}", over_black(radiance, mask), mask, kind, points, square, size, known)


def _captured_landmarks(members: dict[str, bytes], camera: str, key: str) -> Float[np.ndarray, "68 2"] | None:
    if LANDMARKS not in members:
        return None
    with np.load(io.BytesIO(members[LANDMARKS]), allow_pickle=False) as arrays:
        names, points = arrays["cameras"].tolist(), arrays["points"]
    if camera not in names:
        return None
    found = to_68(points[names.index(camera)].astype(np.float64), f"{LANDMARKS} of frame {key}")
    return found if np.isfinite(found).all() else None
