"""Where the files of a capture's shards lie: a local folder, or a place that fsspec knows, such as http or s3.

Both are read alike: byte ranges of a file for random access, or one file from front to back.
"""

import errno
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets.errors import VrmmError
from datasets.held_file import HeldFile

T = TypeVar("T")
Range = tuple[int, int]
"""Offset and size, bytes."""

_OPEN_FILES = 64
_GAP = 1 << 16  # bytes between two ranges that are fetched along rather than asked for separately
_CHUNK = 1 << 20  # of skipped bytes
_STREAM_BLOCK = 8 << 20  # bytes that a store without streams gives at a time
_PAUSES = (0.2, 1.0, 3.0)  # seconds before a failed request is made again
_EXTRAS = {"s3": 'pip install "vrmm[s3]"', "s3a": 'pip install "vrmm[s3]"'}


class ForwardFile(ABC):
    """A file that is read from front to back; of one thread."""

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Bytes from ``offset`` on, which must not lie before the end of the last read; fewer where the file ends.

        Raises:
            OSError: they cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


class Storage(ABC):
    """Files by name, read-only, safe for threads.

    Attributes:
        location: the folder's path or URL.
        remote: whether a request takes long and may fail now and work later.
    """

    location: str
    remote: bool

    def where(self, name: str) -> str:
        """A file's full name, for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    @abstractmethod
    def read_whole(self, name: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError or another OSError."""

    @abstractmethod
    def read_ranges(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        """Byte ranges of a file, each shorter than asked for where the file ends within it.

        Raises:
            OSError: they cannot be read.
        """

    @abstractmethod
    def open_forward(self, name: str) -> ForwardFile:
        """The file, to be read from front to back. Raises OSError."""


def is_remote(folder: Path | str) -> bool:
    """The folder is named by a URL of another kind than ``file:``."""
    scheme, separator, _ = str(folder).partition("://")
    return bool(separator) and scheme != "file"


def resolve_folder(folder: Path | str) -> str:
    """A name that is good from any working directory: an absolute path, or the URL as it is."""
    return str(folder) if is_remote(folder) else str(Path(str(folder).removeprefix("file://")).resolve())


def open_storage(folder: Path | str) -> Storage:
    """The files in a local folder or at a URL that fsspec understands.

    Raises:
        VrmmError: a URL of a kind that is unknown, or whose package is not installed.
    """
    if not is_remote(folder):
        return LocalStorage(Path(str(folder).removeprefix("file://")))
    return RemoteStorage(str(folder))


class LocalStorage(Storage):
    """A folder. Final."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.location = str(folder)
        self._open: OrderedDict[str, HeldFile] = OrderedDict()
        self._lock = threading.Lock()

    def read_whole(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def read_ranges(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        file = self._descriptor(name)
        return [file.read(offset, size) for offset, size in ranges]

    def open_forward(self, name: str) -> ForwardFile:
        return _LocalForward(HeldFile(self._folder / name))

    def _descriptor(self, name: str) -> HeldFile:
        """The file, one of the last read that are held open. One evicted lives on until its last reader is done."""
        with self._lock:
            file = self._open.pop(name, None) or HeldFile(self._folder / name)
            self._open[name] = file
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
            return file


class RemoteStorage(Storage):
    """A place that fsspec knows. Requests that fail are made again a few times. Final."""

    remote = True

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self._files, self._root = _file_system(self.location)
        # One request of http gives the whole file; others give it block by block and hold one block.
        streams = url.startswith(("http://", "https://"))
        self._forward = {"block_size": 0, "size": 1} if streams else {"block_size": _STREAM_BLOCK}

    def read_whole(self, name: str) -> bytes:
        return _retry(lambda: self._files.cat_file(f"{self._root}/{name}"))

    def read_ranges(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        spans = _merge(ranges)
        path = f"{self._root}/{name}"
        starts, stops = [start for start, _ in spans], [stop for _, stop in spans]

        def fetch() -> list[bytes]:
            # Requests of one call run at once where the file system can do so.
            return self._files.cat_ranges([path] * len(spans), starts, stops, on_error="raise")

        parts = _retry(fetch)
        for part, (start, stop) in zip(parts, spans, strict=True):
            if len(part) > stop - start:
                raise OSError(errno.ENOTSUP, "the server ignores byte ranges; set loader.mode=stream")
        return [_cut(parts, spans, offset, size) for offset, size in ranges]

    def open_forward(self, name: str) -> ForwardFile:
        return _RemoteForward(lambda: self._files.open(f"{self._root}/{name}", "rb", **self._forward))


class _LocalForward(ForwardFile):
    def __init__(self, file: HeldFile) -> None:
        self._file: HeldFile | None = file

    def read(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        return self._file.read(offset, size)

    def close(self) -> None:
        self._file = None


class _RemoteForward(ForwardFile):
    """Skips by reading on; after an error it begins again and skips to where it was."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._file: Any = None
        self._position = 0

    def read(self, offset: int, size: int) -> bytes:
        return _retry(lambda: self._read(offset, size))

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read(self, offset: int, size: int) -> bytes:
        try:
            if self._file is None or self._position > offset:
                self.close()
                self._file, self._position = self._connect(), 0
            while self._position < offset and self._take(min(_CHUNK, offset - self._position)):
                pass
            parts, wanted = [], size if self._position == offset else 0
            while wanted and (part := self._take(wanted)):
                parts.append(part)
                wanted -= len(part)
            return b"".join(parts)
        except BaseException:
            self._position = offset + size + 1  # connect anew whatever is read next
            raise

    def _take(self, size: int) -> bytes:
        part = self._file.read(size)
        self._position += len(part)
        return part


def _merge(ranges: Sequence[Range]) -> list[tuple[int, int]]:
    """Spans ``(start, stop)`` in ascending order that cover the ranges, neighbours joined."""
    spans: list[tuple[int, int]] = []
    for offset, size in sorted(ranges):
        if spans and offset - spans[-1][1] <= _GAP:
            spans[-1] = spans[-1][0], max(spans[-1][1], offset + size)
        else:
            spans.append((offset, offset + size))
    return spans


def _cut(parts: Sequence[bytes], spans: Sequence[tuple[int, int]], offset: int, size: int) -> bytes:
    for part, (start, stop) in zip(parts, spans, strict=True):
        if start <= offset and offset + size <= stop:
            return part[offset - start : offset - start + size]
    raise ValueError(f"no span holds the {size} bytes from {offset} on")


def _retry(request: Callable[[], T]) -> T:
    """The request's answer; whatever fsspec's many backends raise for good is an OSError."""
    for pause in (*_PAUSES, None):
        try:
            return request()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:
            if pause is None or _is_final(error):
                raise OSError(errno.EIO, _describe(error)) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _is_final(error: Exception) -> bool:
    """An answer that will not change: access denied, or a status of the 400s other than a timeout or haste."""
    if isinstance(error, PermissionError):
        return True
    status = getattr(error, "status", None)  # of aiohttp's errors
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429)


def _describe(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(url, **_options(scheme))
    except ImportError as error:
        remedy = _EXTRAS.get(scheme, "install the package that it names")
        raise VrmmError(f"{url} cannot be read: {error}; {remedy}") from error
    except ValueError as error:
        raise VrmmError(f"{url} cannot be read: {error}; shards are read from folders, http:// and s3://") from error


def _options(scheme: str) -> dict[str, Any]:
    if scheme not in ("http", "https"):
        return {}
    import aiohttp

    # aiohttp would end every request after five minutes; a shard may take longer, silence may not.
    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}}
