"""A bounded folder of bytes that were far away, shared by all processes of a machine."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from datasets.errors import VrmmError

_TOTAL = ".bytes"
_LEFTOVER_SECONDS = 3600.0  # an unfinished file older than this belongs to a writer that was killed
_KEPT = 0.875  # share of the bound that stays when room is made, so that it is not made for every file


class DiskCache:
    """Bytes by key in files of a folder, at most so many bytes in all, those used longest ago dropped. Final.

    Safe for threads and for processes that share the folder. Nothing is promised about what is in it: a file that
    cannot be read is absent, and callers check what they get.

    Args:
        folder: on a local disk, made if absent; only the cache may write to it.
        max_bytes: of all files in it.

    Raises:
        VrmmError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path | str, max_bytes: int) -> None:
        self._folder, self._max = Path(folder), max_bytes
        self._lock = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._make_room(0)
        except OSError as error:
            raise VrmmError(f"cannot keep a cache in {folder}: {error.strerror}; set loader.disk_cache") from error

    def get(self, key: str) -> bytes | None:
        """The bytes of ``key``, or None where they are not held."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)  # the time of its last use
            return data
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Hold these bytes; without effect where they are larger than the bound or the disk is full."""
        if len(data) > self._max:
            return
        path = self._path(key)
        with contextlib.suppress(OSError), self._locked() as total:
            if path.exists():
                return
            if total + len(data) > self._max:
                total = self._make_room(len(data))
            self._write_total(total + len(data))  # before the file, so that the bound holds at every moment
            path.parent.mkdir(exist_ok=True)
            _write(path, data)

    def drop(self, key: str) -> None:
        """Forget the bytes of ``key``, which turned out wrong."""
        self._path(key).unlink(missing_ok=True)

    def bytes(self) -> int:
        """Of the files in the folder now."""
        with self._locked():
            return sum(size for _, size, _ in self._files())

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name[2:40]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Alone among threads and processes; gives the bytes that are counted as held."""
        with self._lock, open(self._folder / _TOTAL, "ab+") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield int(file.read() or self._max)  # not known after a kill: room is made, which counts anew

    def _write_total(self, total: int) -> None:
        (self._folder / _TOTAL).write_bytes(b"%d" % total)

    def _make_room(self, size: int) -> int:
        """Drop the oldest files until ``size`` bytes fit comfortably; returns and records what is left."""
        files = sorted(self._files())
        total = sum(held for _, held, _ in files)
        target = self._max if total + size <= self._max else int(_KEPT * self._max) - size
        for stamp, held, path in files:
            unfinished = path.suffix == ".tmp"
            if (unfinished and time.time() - stamp > _LEFTOVER_SECONDS) or (total > target and not unfinished):
                path.unlink(missing_ok=True)
                total -= held
        self._write_total(total)
        return total

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of every file."""
        for folder in self._folder.iterdir():
            if folder.is_dir():
                for entry in os.scandir(folder):
                    with contextlib.suppress(OSError):  # dropped by another process
                        status = entry.stat()
                        yield status.st_mtime, status.st_size, Path(entry.path)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; not synced, since what a crash of the machine spoils is noticed and fetched again."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
