"""68 facial landmarks of a photo, from a file beside it; detectors can be added behind the same interface."""

import zipfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.files import read_json

COUNT = 68
SUFFIXES = (".lmk.npz", ".lmk.json", ".lmk.pts", ".json", ".pts")
"""Endings of landmark files, replacing the photo's; the first that exists is read."""


class LandmarkSource(ABC):
    """Finds the Multi-PIE 68 points of a photo."""

    @abstractmethod
    def find(self, photo: Path) -> Float[np.ndarray, "68 2"]:
        """Points in pixels of the upright photo, x right, y down, the centre of the first pixel at (0.5, 0.5).

        Raises:
            VrmmError: there are none, or they are damaged.
        """


class LandmarkFiles(LandmarkSource):
    """Reads ``{stem}.lmk.npz`` (array ``landmarks``), ``.json`` (a list, or under ``landmarks``) or ``.pts``. Final.

    npz and JSON are in the pixels of ``LandmarkSource.find``; ``.pts`` is iBUG's text format, whose first pixel
    centre is (1, 1).
    """

    def find(self, photo: Path) -> Float[np.ndarray, "68 2"]:
        path = landmark_file(photo)
        if path is None:
            stem = photo.with_suffix("").name
            raise VrmmError(f"{photo} has no landmarks: put {stem}.lmk.npz, .json or .pts (68 points) beside it")
        return _checked(_READERS[path.suffix](path), path)


class FilesFirst(LandmarkSource):
    """The file beside a photo where there is one, else what another source finds. Final."""

    def __init__(self, other: LandmarkSource) -> None:
        self._files, self._other = LandmarkFiles(), other

    def find(self, photo: Path) -> Float[np.ndarray, "68 2"]:
        return (self._other if landmark_file(photo) is None else self._files).find(photo)


def landmark_file(photo: Path) -> Path | None:
    """The landmarks beside a photo, if there are any."""
    stem = photo.with_suffix("")
    paths = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def write_landmarks(photo: Path, points: Float[np.ndarray, "68 2"]) -> Path:
    """Write ``{stem}.lmk.npz`` beside ``photo``; returns its path."""
    import io

    from datasets.files import atomic_write_bytes

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


def _checked(points: np.ndarray, path: Path) -> Float[np.ndarray, "68 2"]:
    if points.shape != (COUNT, 2):
        raise VrmmError(
            f"{path} holds landmarks of shape {points.shape}; needed are ({COUNT}, 2): the Multi-PIE points"
        )
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise VrmmError(f"{path} holds landmarks that are no finite numbers; detect them again")
    return points.astype(np.float64)


_READERS = {".npz": _read_npz, ".json": _read_json_points, ".pts": _read_pts}
