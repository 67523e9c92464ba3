"""Exports of VHAP, the tracker behind GaussianAvatars: like INSTA's files by name, in other axes and with more in them.

Layout and meaning after the tracker's own code (ShenhanQian/VHAP, vhap/export_as_nerf_dataset.py and
vhap/data/nerf_dataset.py)::

    {export}/
        transforms.json, transforms_{train,val,test}.json     frames, one for each picture: timestep_index, camera_id,
            fl_x, fl_y, cx, cy, w, h, transform_matrix, file_path, fg_mask_path, flame_param_path
        images/{timestep:05d}_{camera:02d}.png                before white
        fg_masks/{timestep:05d}_{camera:02d}.png
        flame_param/{timestep:05d}.npz

``transform_matrix`` is camera-to-world in OpenGL axes. Cameras stand still; FLAME moves about the origin.
"""

import collections
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.images import coverage, decode_stored_mask
from datasets.readers.arrays import read_npz
from datasets.readers.fields import finite_array
from datasets.readers.names import by_subject, key_name, subfolders
from datasets.readers.opengl import FLIP, inverse, is_mirrored, rigid
from datasets.readers.paths import read_bytes
from datasets.readers.reader import NoOptions, Selection
from datasets.readers.stage import RawCamera, Stage
from datasets.readers.tracked import Picture, TrackedReader
from datasets.readers.transforms import (
    Listed,
    is_transforms_folder,
    listed_frames,
    optional_path,
    picture_path,
    picture_size,
    pixel_intrinsics,
)

NAMES = {
    "translation": "translation",
    "rotation": "global_pose",
    "neck_pose": "neck_pose",
    "jaw_pose": "jaw_pose",
    "eyes_pose": "eye_pose",
    "shape": "shape",
    "expr": "expression",
}
"""VHAP's names of FLAME's parameters → ours in ``geom.npz``."""

_SEQUENCE = "video"
_STILL = 1e-5  # metres and radians


class VhapReader(TrackedReader):
    """One export, of one or several cameras. Final. Frames have no pose, for the reason that IMavatar's have none."""

    FORMAT: ClassVar[str] = "vhap"
    LICENCE: ClassVar[str] = "that of the pictures which were tracked; VHAP's export does not name it"
    OPTIONS: ClassVar[type] = NoOptions

    def __init__(self, source: Path, selection: Selection, options: NoOptions) -> None:
        self._listed: dict[int, dict[str, Listed]] = collections.defaultdict(dict)
        cameras: dict[str, RawCamera] = {}
        for listed in listed_frames(source):
            if "timestep_index" not in listed.entry:
                raise VrmmError(f"{listed.entry.origin} has no timestep_index, so VHAP did not write it")
            name, time = key_name(listed.entry["camera_id"].text()), listed.entry["timestep_index"].integer()
            if name in self._listed[time]:
                raise VrmmError(f"{listed.entry.origin} lists timestep {time} of camera {name} a second time")
            self._listed[time][name] = listed
            _check_still(cameras.setdefault(name, _camera(name, listed)), _camera(name, listed), listed)
        world = Stage(rotation=np.eye(3), metres=1.0, origin=np.zeros(3))
        views = {name: [seen[name] for seen in self._listed.values() if name in seen] for name in sorted(cameras)}
        super().__init__(
            source,
            selection,
            cameras=[cameras[name] for name in views],
            stage=world,
            subject=key_name(source.name),
            held_out=[name for name, seen in views.items() if not _trains(seen)],
        )

    @classmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        places = [source] if is_transforms_folder(source) else filter(is_transforms_folder, subfolders(source))
        return by_subject((place.name, place) for place in places)

    def all_frames(self) -> list[Frame]:
        return [
            self.frame(_SEQUENCE, time, "train" if _trains(views.values()) else "held_out")
            for time, views in sorted(self._listed.items())
        ]

    def picture(self, frame: Frame, camera: RawCamera) -> Picture:
        listed = self._view(frame, camera)
        path = picture_path(self._source, listed)
        data = read_bytes(path, listed.entry["file_path"].origin)
        return Picture(data=data, extension=path.suffix[1:].lower(), what=str(path))

    def mask(self, frame: Frame, camera: RawCamera, picture: Picture) -> Float[np.ndarray, "H W"] | None:
        path = optional_path(self._source, self._view(frame, camera), "fg_mask_path")
        return None if path is None else coverage(decode_stored_mask(read_bytes(path), str(path)))

    def geometry(self, frame: Frame) -> dict[str, np.ndarray]:
        views = self._listed[frame.index]
        path = optional_path(self._source, next(iter(views.values())), "flame_param_path")
        return {"model_to_world": np.eye(4)[:3], **({} if path is None else _flame_parameters(path))}

    def _view(self, frame: Frame, camera: RawCamera) -> Listed:
        views = self._listed[frame.index]
        if camera.name not in views:
            raise VrmmError(
                f"{self._source} has no picture of camera {camera.name} at timestep {frame.index}; leave it out with "
                "--cameras or --frames"
            )
        return views[camera.name]


def _trains(views: Iterable[Listed]) -> bool:
    return any(listed.split == "train" for listed in views)


def _camera(name: str, listed: Listed) -> RawCamera:
    entry = listed.entry["transform_matrix"]
    place = inverse(rigid(entry.array((4, 4), (3, 4)), entry.origin))
    if is_mirrored(place):
        raise VrmmError(f"{entry.origin} mirrors the head; is the file damaged?")
    width, height = picture_size(listed)
    return RawCamera(
        name=name, world_to_camera=FLIP @ place, intrinsics=pixel_intrinsics(listed), width=width, height=height
    )


def _check_still(before: RawCamera, now: RawCamera, listed: Listed) -> None:
    """Raises VrmmError where a camera moves or zooms: a capture has one calibration."""
    moved = np.abs(before.world_to_camera - now.world_to_camera).max() > _STILL
    same_lens = (before.width, before.height) == (now.width, now.height) and np.allclose(
        before.intrinsics, now.intrinsics, rtol=_STILL
    )
    if moved or not same_lens:
        raise VrmmError(f"{listed.entry.origin}: camera {now.name} has moved or zoomed; VHAP's cameras stand still")


def _flame_parameters(path: Path) -> dict[str, np.ndarray]:
    """Without the leading 1 that VHAP gives to what changes from frame to frame."""
    arrays = read_npz(path)
    missing = [name for name in NAMES if name not in arrays]
    if missing:
        raise VrmmError(f"{path} lacks the array {missing[0]!r}; is the download complete?")
    named = {ours: finite_array(arrays[name], f"{path}: {name}", (None,), (1, None)) for name, ours in NAMES.items()}
    parameters: dict[str, np.ndarray] = {name: array.reshape(-1) for name, array in named.items()}
    if "static_offset" in arrays:
        offset = finite_array(arrays["static_offset"], f"{path}: static_offset", (1, None, 3), (None, 3))
        parameters["static_offset"] = offset.reshape(-1, 3).astype(np.float32)
    return parameters
