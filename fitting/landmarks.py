"""68 facial landmarks of pictures: the interface of all that find them, and files beside the pictures."""

import dataclasses
import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, read_json
from fitting.landmark_schemes import COUNT, to_68

SUFFIXES = (".lmk.npz", ".lmk.json", ".lmk.pts", ".json", ".pts")
"""Endings of landmark files, replacing the picture's; the first that exists is read."""
LARGEST_SHARE = 1.5
"""Coordinates that are all at most this large are shares of the picture's width and height: no face is so small."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """What a source of landmarks is shown.

    Attributes:
        path: of the photo or the video.
        rgb: [H, W, 3] upright, sRGB.
        frame: number of the frame in the video file ``path``; None for a file of its own.
    """

    path: Path
    rgb: UInt8[np.ndarray, "H W 3"]
    frame: int | None = None

    @property
    def name(self) -> str:
        """For errors and reports."""
        return str(self.path) if self.frame is None else f"{self.path} frame {self.frame}"


class LandmarkSource(ABC):
    """Finds the Multi-PIE 68 points of the faces in a picture."""

    @abstractmethod
    def find(self, picture: Picture) -> Float[np.ndarray, "F 68 2"]:
        """The faces, in any order; F is 0 where there is none.

        Points are pixels of the upright picture, x right, y down, the centre of the first pixel at (0.5, 0.5).

        Raises:
            VrmmError: landmarks that are damaged.
        """

    @abstractmethod
    def remedy(self, picture: Picture) -> str:
        """What a user can do where ``find`` gives no face, as a clause: ``"put photo.lmk.npz beside it"``."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the source would find other points in the same picture and the files beside it."""


class FirstOf(LandmarkSource):
    """Asks one source after the other until one finds a face. Final."""

    def __init__(self, sources: Sequence[LandmarkSource]) -> None:
        self._sources = tuple(sources)

    def find(self, picture: Picture) -> Float[np.ndarray, "F 68 2"]:
        for source in self._sources:
            faces = source.find(picture)
            if len(faces) > 0:
                return faces
        return np.zeros((0, COUNT, 2))

    def remedy(self, picture: Picture) -> str:
        return ", or ".join(source.remedy(picture) for source in self._sources)

    @property
    def fingerprint(self) -> str:
        return "+".join(source.fingerprint for source in self._sources)


class LandmarkFiles(LandmarkSource):
    """Reads ``{stem}.lmk.npz`` (array ``landmarks``), ``.json`` (a list, or under ``landmarks``) or ``.pts``. Final.

    A photo's file holds [N, 2], or [F, N, 2] for several faces; a video's [T, N, 2] or [T, F, N, 2] with NaN where
    a frame has no (such) face. N is 68, 98 or 478; a third coordinate (depth) is ignored. npz and JSON are in the
    pixels of ``LandmarkSource.find`` or in shares of the picture's width and height; ``.pts`` is iBUG's text
    format, whose first pixel centre is (1, 1).
    """

    def __init__(self) -> None:
        self._last: tuple[Path, np.ndarray] | None = None

    def find(self, picture: Picture) -> Float[np.ndarray, "F 68 2"]:
        path = landmark_file(picture.path)
        if path is None:
            return np.zeros((0, COUNT, 2))
        points = self._read(path)
        if picture.frame is not None:
            if points.ndim < 3 or picture.frame >= len(points):
                raise VrmmError(
                    f"{path} holds landmarks of shape {points.shape}, too few for frame {picture.frame} of its video; "
                    "needed are [frames, 68, 2]"
                )
            points = points[picture.frame]
        faces = points.reshape(-1, *points.shape[-2:])
        if picture.frame is None and not np.isfinite(faces).all():
            raise VrmmError(f"{path} holds landmarks that are no finite numbers; detect them again")
        faces = faces[np.isfinite(faces).all(axis=(1, 2))]
        if len(faces) and np.abs(faces).max() <= LARGEST_SHARE:
            faces = faces * picture.rgb.shape[1::-1]
        return faces

    def remedy(self, picture: Picture) -> str:
        stem = picture.path.with_suffix("").name
        if picture.frame is None:
            return f"put {stem}.lmk.npz, .json or .pts (68, 98 or 478 points) beside it"
        return f"put {stem}.lmk.npz (landmarks [frames, 68, 2]) beside it"

    @property
    def fingerprint(self) -> str:
        return "files"

    def _read(self, path: Path) -> np.ndarray:
        """[..., 68, 2]; a video's file is read once for all its frames."""
        if self._last is None or self._last[0] != path:
            self._last = (path, _checked(_READERS[path.suffix](path), path))
        return self._last[1]


def choose_face(
    faces: Float[np.ndarray, "F 68 2"],
    what: str,
    remedy: str,
    face: int | None = None,
    near: Float[np.ndarray, "68 2"] | None = None,
) -> Float[np.ndarray, "68 2"]:
    """The one face to fit.

    Args:
        faces: of a picture.
        what: names the picture.
        remedy: what to do where there is none, as ``LandmarkSource.remedy``.
        face: its number, from the left, 1 for the first; None where there should be one only.
        near: the same face a moment ago: then it is the nearest one.

    Raises:
        VrmmError: no face, several without ``face``, or fewer than ``face``.
    """
    if len(faces) == 0:
        raise VrmmError(f"{what} has no landmarks of a face: {remedy}")
    centers = faces.mean(axis=1)
    if near is not None:
        return faces[int(np.linalg.norm(centers - near.mean(axis=0), axis=1).argmin())]
    if face is None and len(faces) > 1:
        raise VrmmError(f"{what} shows {len(faces)} faces; choose one with --face 1 to {len(faces)}, from the left")
    if face is not None and not 1 <= face <= len(faces):
        raise VrmmError(f"{what} shows {len(faces)} faces, so --face must be 1 to {len(faces)}, not {face}")
    return faces[np.argsort(centers[:, 0], kind="stable")[(face or 1) - 1]]


def landmark_file(picture: Path) -> Path | None:
    """The landmarks beside a photo or video, if there are any."""
    stem = picture.with_suffix("")
    paths = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def write_landmarks(photo: Path, points: Float[np.ndarray, "*F 68 2"]) -> Path:
    """Write ``{stem}.lmk.npz`` beside a photo or a video; returns its path."""
    data = io.BytesIO()
    np.savez(data, landmarks=np.asarray(points, np.float32))
    path = photo.with_suffix("").with_name(photo.stem + SUFFIXES[0])
    atomic_write_bytes(path, data.getvalue())
    return path


def _read_npz(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "landmarks" not in arrays:
                raise VrmmError(f"{path} has no array named landmarks; it has {', '.join(arrays) or 'none'}")
            return arrays["landmarks"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VrmmError(f"{path} is not a landmark file: {error}") from error


def _read_json_points(path: Path) -> np.ndarray:
    value = read_json(path, "a landmark file")
    if isinstance(value, dict):
        if "landmarks" not in value:
            raise VrmmError(f'{path} has no key landmarks; write {{"landmarks": [[x, y], … 68 points]}}')
        value = value["landmarks"]
    return _array(value, path)


def _read_pts(path: Path) -> np.ndarray:
    """iBUG: ``version: 1``, ``n_points: 68``, then lines of ``x y`` between braces."""
    try:
        _, brace, rest = path.read_text().partition("{")
    except (OSError, UnicodeDecodeError) as error:
        raise VrmmError(f"{path} is not a landmark file: {error}") from error
    if not brace:
        raise VrmmError(f"{path} is not a .pts file: the points must stand between braces")
    return _array([line.split() for line in rest.partition("}")[0].splitlines() if line.strip()], path) - 0.5


def _array(value: object, path: Path) -> np.ndarray:
    try:
        return np.array(value, np.float64)
    except (ValueError, TypeError) as error:
        raise VrmmError(f"{path} is not a list of [x, y] numbers: {error}") from error


def _checked(points: np.ndarray, path: Path) -> Float[np.ndarray, "*F 68 2"]:
    if not 2 <= points.ndim <= 4 or points.shape[-1] not in (2, 3) or points.dtype.kind not in "fiu":
        raise VrmmError(
            f"{path} holds landmarks of shape {points.shape}; needed are numbers [68, 2], [98, 2] or [478, 2]"
        )
    return to_68(points[..., :2].astype(np.float64), str(path))


_READERS = {".npz": _read_npz, ".json": _read_json_points, ".pts": _read_pts}
