"""numpy's files of a data set, without the pickles that they can hold."""

import io
from pathlib import Path

import numpy as np

from datasets.errors import VrmmError
from datasets.readers.archive import Archive


def read_npy(path: Path) -> np.ndarray:
    """An array that stays on disk until its parts are used. Raises VrmmError for a missing or unusable file."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise VrmmError(f"{path} does not exist; is the download complete?") from None
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(str(path), error) from error


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The named arrays of an archive, or all of them.

    Raises:
        VrmmError: no such file or array, damage, or an array of Python objects.
    """
    archive = Archive(path)
    wanted = names or tuple(name.removesuffix(".npy") for name in archive.names())
    return {name: _parse(archive.read(f"{name}.npy"), f"{path}: {name}") for name in wanted}


def write_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an archive of arrays; equal arrays give equal bytes."""
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays)
    return data.getvalue()


def _parse(data: bytes, origin: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise _unusable(origin, error) from error


def _unusable(origin: str, error: Exception) -> VrmmError:
    reason = " ".join(str(error).split())
    return VrmmError(f"{origin} is no array of numbers ({reason}); pickles are not loaded, damaged files neither")
