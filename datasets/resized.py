"""A capture with smaller pictures: averaged in linear radiance, without their background."""

import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, Capture, CaptureInfo, Frame, ImageEncoding
from datasets.errors import VrmmError
from datasets.images import coverage, decode_radiance, decode_stored_mask, encode_mask, encode_radiance
from datasets.readers.arrays import write_npz

LANDMARKS, GEOMETRY = "lmk.npz", "geom.npz"


class ResizedCapture(Capture):
    """Another capture at one height of its pictures. Final.

    Pictures become PNG in the encoding that they had; a mask is used up at the full size, so that no background
    bleeds over the rim. Pictures that have the height already keep their bytes.

    Args:
        capture: the other one.
        height: pixels.

    Raises:
        VrmmError: a height above that of a camera.
    """

    def __init__(self, capture: Capture, height: int) -> None:
        self._capture = capture
        info = capture.info
        for camera in info.cameras:
            if not 0 < height <= camera.height:
                raise VrmmError(
                    f"height {height} is not between 1 and the {camera.height} pixels of camera {camera.name}; "
                    "pictures are made smaller only"
                )
        self._cameras = {camera.name: camera for camera in info.cameras}
        self._small = {camera.name: _resized(camera, info.encoding_of(camera), height) for camera in info.cameras}
        self._info = _with_cameras(info, list(self._small.values()))

    @property
    def info(self) -> CaptureInfo:
        return self._info

    def frames(self) -> Sequence[Frame]:
        return self._capture.frames()

    def members(self, frame: Frame) -> dict[str, bytes]:
        whole = self._capture.members(frame)
        small = {}
        for name, data in whole.items():
            camera, _, kind = name.partition(".")
            if kind.startswith("rgb.") and self._changes(camera):
                small[f"{camera}.rgb.png"] = self._picture(whole, name, frame)
            elif kind == "mask.png" and self._changes(camera):
                mask = coverage(decode_stored_mask(data, f"{name} of frame {frame.key}"))
                small[name] = encode_mask(_shrink(mask, self._small[camera]))
            elif name == LANDMARKS:
                small[name] = self._landmarks(data)
            elif name == GEOMETRY:
                small[name] = self._geometry(data)
            else:
                small[name] = data
        return small

    def _changes(self, camera: str) -> bool:
        return self._small[camera].height != self._cameras[camera].height

    def _picture(self, members: Mapping[str, bytes], name: str, frame: Frame) -> bytes:
        camera = self._cameras[name.partition(".")[0]]
        encoding = self._capture.info.encoding_of(camera)
        image = decode_radiance(members[name], name, encoding, f"{name} of frame {frame.key}")
        mask = members.get(f"{camera.name}.mask.png")
        if mask is not None and not encoding.matted:
            image *= coverage(decode_stored_mask(mask, f"the mask of {name} of frame {frame.key}"))[..., None]
        return encode_radiance(_shrink(image, self._small[camera.name]), encoding)

    def _landmarks(self, data: bytes) -> bytes:
        """``points`` [C, P, 2] are pixels of ``cameras`` [C]."""
        arrays = _read_npz(data)
        for row, name in enumerate(arrays["cameras"].tolist()):
            arrays["points"][row] *= self._factors(name)
        return write_npz(arrays)

    def _geometry(self, data: bytes) -> bytes:
        """``face_box`` [left, top, right, bottom] is pixels of the only camera; nothing else is."""
        arrays = _read_npz(data)
        if "face_box" not in arrays:
            return data
        (name,) = self._cameras
        return write_npz({**arrays, "face_box": arrays["face_box"] * np.tile(self._factors(name), 2)})

    def _factors(self, camera: str) -> Float[np.ndarray, "2"]:
        """Pixels of the small picture for each of the whole one, across and down."""
        small, whole = self._small[camera], self._cameras[camera]
        return np.array([small.width / whole.width, small.height / whole.height])


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _resized(camera: Camera, encoding: ImageEncoding, height: int) -> Camera:
    if height == camera.height:
        return dataclasses.replace(camera, encoding=encoding)
    width = max(round(camera.width * height / camera.height), 1)
    return dataclasses.replace(camera.resized(width, height), encoding=dataclasses.replace(encoding, matted=True))


def _with_cameras(info: CaptureInfo, cameras: Sequence[Camera]) -> CaptureInfo:
    """The description with other cameras, each with its encoding; that of the first becomes the capture's."""
    common = info.encoding_of(cameras[0]) if cameras else info.encoding
    shared = [dataclasses.replace(c, encoding=None if c.encoding == common else c.encoding) for c in cameras]
    return dataclasses.replace(info, cameras=tuple(shared), encoding=common)


def _shrink(image: Float[np.ndarray, "H W *C"], camera: Camera) -> Float[np.ndarray, "H2 W2 *C"]:
    import cv2

    return cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
