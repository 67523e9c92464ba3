"""IMavatar's videos, which PointAvatar uses, too: one person before one camera, FLAME fitted to every picture.

Layout and meaning after the data set's own loaders (zhengyuf/IMavatar, code/datasets/real_dataset.py and
code/utils/rend_util.py, preprocess/DECA/optimize.py)::

    {subject}/{subject}/{video}/
        flame_params.json        intrinsics [-fx, fy, cx, cy], fractions of the picture (older files: pixels of 512);
                                 shape_params; frames: file_path without extension, world_mat, expression, pose, bbox,
                                 flame_keypoints
        image/{number}.png       from 1
        mask/{number}.png

``world_mat`` is world-to-camera in OpenGL axes, of a FLAME mesh four times its size. Pixel centres have whole numbers.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.images import coverage, declared_size, decode_stored_mask
from datasets.readers.fields import Fields, frame_number
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import FLIP, from_pixel_numbers, is_mirrored, pinhole, positive_focal, rigid
from datasets.readers.paths import inside, read_bytes
from datasets.readers.reader import Selection
from datasets.readers.stage import RawCamera
from datasets.readers.tracked import Picture, TrackedReader, fixed_camera, landmark_arrays, stage_of_camera

PARAMETERS = "flame_params.json"
POSE = {"global_pose": slice(0, 3), "neck_pose": slice(3, 6), "jaw_pose": slice(6, 9), "eye_pose": slice(9, 15)}
"""Parts of ``pose``: axis-angle vectors."""

_FLAME_SCALE = 4.0
_OLD_SIZE = 512
_LANDMARKS = 68


@dataclasses.dataclass(kw_only=True)
class IMavatarOptions:
    """What the files of an IMavatar capture do not say.

    Attributes:
        held_out: names of the videos that are for testing.
    """

    held_out: list[str] = dataclasses.field(default_factory=lambda: ["test"])


class IMavatarReader(TrackedReader):
    """All videos of one person, or one of them. Final.

    The head's pose depends on the joints of FLAME, whose files are pickles under a licence of their own. So frames
    have no ``pose``; ``geom.npz`` has what FLAME needs to give the mesh, and where that lies in our world.
    """

    FORMAT: ClassVar[str] = "imavatar"
    LICENCE: ClassVar[str] = "IMavatar and PointAvatar videos, ETH Zurich; published for research, no licence stated"
    OPTIONS: ClassVar[type] = IMavatarOptions

    def __init__(self, source: Path, selection: Selection, options: IMavatarOptions) -> None:
        folders = _videos(source)
        if not folders:
            raise VrmmError(f"{source} has no video with a {PARAMETERS}; is the download complete?")
        self._videos = {key_name(folder.name): _Video(folder) for folder in folders}
        self._held_out = _checked_names(options.held_out, self._videos, source)
        (first, *others) = self._videos.values()
        size = first.picture_size()
        self._lens = first.intrinsics(size)
        for video in others:
            if video.picture_size() != size or not np.allclose(video.intrinsics(size), self._lens, rtol=1e-6):
                raise VrmmError(f"{first.folder} and {video.folder} have different cameras; import each by itself")
        heads = np.concatenate([video.places(self._lens) for video in self._videos.values()])
        camera = fixed_camera(positive_focal(np.eye(4)[:3], self._lens)[1], size)
        subject = source.parent.name if (source / PARAMETERS).is_file() else source.name
        super().__init__(source, selection, cameras=[camera], stage=stage_of_camera(heads), subject=key_name(subject))

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        if (source / PARAMETERS).is_file():
            return by_subject([(source.parent.name, source)])
        if _videos(source):
            return by_subject([(source.name, source)])
        places = [place for folder in subfolders(source) for place in (folder, folder / folder.name)]
        return by_subject((place.name, place) for place in places if _videos(place))

    def all_frames(self) -> list[Frame]:
        return [
            self.frame(name, number, "held_out" if name in self._held_out else "train")
            for name, video in self._videos.items()
            for number in sorted(video.frames)
        ]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        path, origin = self._videos[frame.sequence].file(frame.index)
        return Picture(data=read_bytes(path, origin), extension="png", what=str(path))

    def mask(self, frame: Frame, camera: RawCamera, picture: Picture) -> Float[np.ndarray, "H W"] | None:
        path = self._videos[frame.sequence].mask_file(frame.index)
        return None if path is None else coverage(decode_stored_mask(read_bytes(path), str(path)))

    def landmarks(self, frame: Frame) -> dict[str, np.ndarray]:
        """The projections of FLAME's landmarks, and of the irises where there are 70."""
        entry = self._videos[frame.sequence].frames[frame.index]
        if "flame_keypoints" not in entry:
            return {}
        (camera,) = self._cameras
        points = entry["flame_keypoints"].array((_LANDMARKS, 2), (_LANDMARKS + 2, 2))
        pixels = _to_pixels(points, camera)
        iris = {"iris": pixels[None, _LANDMARKS:].astype(np.float32)} if len(points) > _LANDMARKS else {}
        return {**landmark_arrays(pixels[:_LANDMARKS], camera), **iris}

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        video = self._videos[frame.sequence]
        entry = video.frames[frame.index]
        pose = entry["pose"].array((15,))
        return {
            "model_to_world": self.model_to_world(video.head(frame.index, self._lens)),
            "shape": video.parameters["shape_params"].array((None,)),
            "expression": entry["expression"].array((None,)),
            **{name: pose[part] for name, part in POSE.items()},
            **self._face_box(entry),
        }

    def _face_box(self, entry: Fields) -> dict[str, np.ndarray]:
        if "bbox" not in entry:
            return {}
        (camera,) = self._cameras
        return {"face_box": _to_pixels(entry["bbox"].array((4,)).reshape(2, 2), camera).ravel()}


class _Video:
    """One ``flame_params.json``; every value is checked when it is used. Final."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parameters = Fields.of_file(folder / PARAMETERS, "FLAME parameters")
        self.frames: dict[int, Fields] = {}
        for entry in self.parameters["frames"].entries():
            number = frame_number(entry["file_path"].text().rpartition("/")[2], entry["file_path"].origin)
            if number in self.frames:
                raise VrmmError(f"{entry['file_path'].origin} lists frame {number} a second time")
            self.frames[number] = entry
        if not self.frames:
            raise VrmmError(f"{folder / PARAMETERS} lists no frames; is the download complete?")

    def file(self, number: int) -> tuple[Path, str]:
        """A frame's picture, and where it is named."""
        entry = self.frames[number]["file_path"]
        return inside(self.folder, f"{entry.text()}.png", entry.origin), entry.origin

    def mask_file(self, number: int) -> Path | None:
        """Beside the folder ``image``, if there are masks."""
        parts = list(self.file(number)[0].relative_to(self.folder).parts)
        if parts[0] != "image" or not (self.folder / "mask").is_dir():
            return None
        return self.folder.joinpath("mask", *parts[1:])

    def picture_size(self) -> tuple[int, int]:
        """Width and height, from the header of the first picture that is there."""
        for number in sorted(self.frames):
            path, _ = self.file(number)
            if path.is_file():
                with open(path, "rb") as file:
                    return declared_size(file.read(64), "png", str(path))
        raise VrmmError(
            f"{self.folder} has none of the pictures that its {PARAMETERS} lists; is the download complete?"
        )

    def intrinsics(self, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """Pixels of pictures of ``size``, OpenCV axes, signs as in the file."""
        entry = self.parameters["intrinsics"]
        fx, fy, cx, cy = entry.array((4,))
        if fx == 0.0 or fy == 0.0:
            raise entry.wrong("a focal length other than zero")
        unit = _OLD_SIZE if cy > 1.0 else 1
        width, height = size[0] / unit, size[1] / unit
        # OpenGL's z points backward: x / -z with a negative focal length is x / z with a positive one.
        return from_pixel_numbers(pinhole(-fx * width, fy * height, cx * width, cy * height))

    def head(self, number: int, lens: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 4"]:
        """FLAME's posed mesh in the camera's OpenCV axes, metres."""
        entry = self.frames[number]["world_mat"]
        motion = rigid(entry.array((3, 4), (4, 4)), entry.origin)
        motion = positive_focal(FLIP @ motion, lens)[0]
        if is_mirrored(motion):
            raise VrmmError(f"{entry.origin} and intrinsics mirror the head; the first of intrinsics must be negative")
        return np.concatenate([motion[:, :3], motion[:, 3:] / _FLAME_SCALE], axis=1)

    def places(self, lens: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "T 3"]:
        """Where FLAME's origin is in each frame, OpenCV camera axes, metres."""
        return np.array([self.head(number, lens)[:, 3] for number in self.frames])


def _videos(folder: Path) -> list[Path]:
    """The folder itself, or those in it."""
    if (folder / PARAMETERS).is_file():
        return [folder]
    return [path for path in subfolders(folder) if (path / PARAMETERS).is_file()]


def _checked_names(held_out: list[str], videos: dict[str, _Video], source: Path) -> set[str]:
    """Raises VrmmError for a video that was asked for by name and is not there."""
    for name in held_out:
        if name not in videos and name != "test":
            raise VrmmError(f"held_out={name} is no video of {source}; it has {', '.join(videos)}")
    return set(held_out)


def _to_pixels(points: Float[np.ndarray, "P 2"], camera: RawCamera) -> Float[np.ndarray, "P 2"]:
    """From [-1, 1] over the picture, where pixel centres have whole numbers."""
    return (points + 1.0) / 2.0 * [camera.width, camera.height] + 0.5
