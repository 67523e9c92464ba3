"""Files that are either whole or absent, whatever kills the writer."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from datasets.errors import VrmmError


def fsync_directory(folder: Path) -> None:
    """Make a rename inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write(file)`` on a temporary file beside ``path``, fsync it and rename it into place.

    Raises:
        VrmmError: the folder cannot be written or the disk is full; ``path`` is left as it was.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        fsync_directory(path.parent)
    except OSError as error:
        raise VrmmError(
            f"cannot write {path}: {error.strerror or error} (free some space or choose another folder)"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write ``value`` as strict JSON (no NaN) to ``path``, whole or not at all."""
    text = json.dumps(value, indent=indent, allow_nan=False) + "\n"
    atomic_write_bytes(path, text.encode())


def replace_folder(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``; an older one steps aside first, and comes back if that fails.

    Both lie on one disk. Raises OSError where a name cannot be changed.
    """
    aside = None
    if folder.exists():
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
        os.rename(folder, aside / folder.name)
    try:
        os.rename(temporary, folder)
    except BaseException:
        if aside is not None:
            os.rename(aside / folder.name, folder)
        raise
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    fsync_directory(folder.parent)


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; ``what`` names it in the error, for example ``"a capture description"``.

    Raises:
        VrmmError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise VrmmError(f"{path} does not exist; expected {what} there") from None
    except (OSError, ValueError) as error:
        raise VrmmError(f"{path} is not {what}: {error}") from error


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
