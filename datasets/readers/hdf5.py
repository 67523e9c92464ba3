"""HDF5 files of a data set: numbers and encoded pictures by their keys, and nothing outside of the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import VrmmError
from datasets.readers.archive import MAX_MEMBER_BYTES
from datasets.readers.fields import finite_array

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises for damage."""


class Hdf5:
    """An open file. Final. ``open_hdf5`` makes it.

    Keys are paths inside of the file, such as ``"Camera/25/color/0"``. What HDF5 can keep in other files (external
    links, external storage, virtual data sets) is refused, because a file of somebody else could name any file here.

    Args:
        file: of h5py.
        path: of it, for errors.
    """

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self.path = file, path

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def names(self, key: str) -> list[str]:
        """The keys below a group, sorted; none where it is absent or no group."""
        found = self._find(key)
        try:
            return sorted(found) if _is_group(found) else []
        except _DAMAGE as error:
            raise self._damaged(key, error) from error

    def attribute(self, key: str, name: str) -> np.ndarray | None:
        """An attribute of a group as it is; None where it is absent."""
        found = self._find(key)
        try:
            return None if found is None or name not in found.attrs else np.asarray(found.attrs[name])
        except _DAMAGE as error:
            raise self._damaged(f"{key}, attribute {name}", error) from error

    def numbers(self, key: str, *shapes: tuple[int | None, ...]) -> np.ndarray:
        """float64 numbers of one of the given shapes; None stands for any length. Never NaN or infinite.

        Raises:
            VrmmError: no such key, damage, another shape, or something that is no number.
        """
        values = self._read(key)
        return finite_array(values if values.dtype.kind in "iuf" else values.tolist(), f"{self.path}: {key}", *shapes)

    def data(self, key: str) -> bytes:
        """An encoded file that is kept as a row of bytes.

        Raises:
            VrmmError: no such key, damage, or something that is no row of bytes.
        """
        values = self._read(key)
        if values.dtype.kind == "V" or (values.dtype.itemsize == 1 and values.dtype.kind in "uiS"):
            return values.tobytes()
        raise VrmmError(f"{self.path}: {key} holds {values.dtype} where the bytes of a picture belong; is it damaged?")

    def _read(self, key: str) -> np.ndarray:
        found = self._find(key)
        if found is None:
            raise VrmmError(f"{self.path} lacks the key {key!r}; is the download complete?")
        try:
            if _is_group(found):
                raise VrmmError(f"{self.path}: {key} is a group where data belong; is the file damaged?")
            if found.external or found.is_virtual:
                raise _elsewhere(self.path, key)
            if found.dtype.hasobject:
                raise VrmmError(f"{self.path}: {key} holds objects; only numbers and bytes are read")
            if found.nbytes > MAX_MEMBER_BYTES:
                raise VrmmError(f"{self.path}: {key} unpacks to {found.nbytes} bytes; that is no part of a frame")
            return np.asarray(found[()])
        except _DAMAGE as error:
            raise self._damaged(key, error) from error

    def _find(self, key: str) -> Any:
        """The group or data set, or None. Raises VrmmError for a link that leads out of the file, and for damage."""
        import h5py

        found = self._file
        try:
            for depth, part in enumerate(parts := key.split("/"), start=1):
                link = found.get(part, getlink=True) if _is_group(found) else None
                if isinstance(link, h5py.ExternalLink):
                    raise _elsewhere(self.path, "/".join(parts[:depth]))
                if link is None or part not in found:
                    return None
                found = found[part]
        except _DAMAGE as error:
            raise self._damaged(key, error) from error
        return found

    def _damaged(self, key: str, error: Exception) -> VrmmError:
        reason = " ".join(str(error).split())
        return VrmmError(f"{self.path}: {key} cannot be read ({reason}); download the file again")


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Open a file for reading, without its lock, which file systems of clusters often lack.

    Raises:
        VrmmError: no such file, one that is not whole, or no h5py here.
    """
    try:
        import h5py
    except ImportError as error:
        raise VrmmError(f'{path} is an HDF5 file, which needs h5py; run pip install "vrmm[smc]"') from error
    if not path.is_file():
        raise VrmmError(f"{path} does not exist; is the download complete?")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise VrmmError(f"{path} is no whole HDF5 file ({reason}); download it again") from error
    with file:
        yield Hdf5(file, path)


def _is_group(found: Any) -> bool:
    """Whether h5py's object is a group."""
    import h5py

    return isinstance(found, h5py.Group)


def _elsewhere(path: Path, key: str) -> VrmmError:
    return VrmmError(f"{path}: {key} leads out of the file; nothing outside of it is read")
