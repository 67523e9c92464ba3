"""A file that is held open and read at any place."""

import os
from pathlib import Path


class HeldFile:
    """A local file, closed with the last reference: the same one though another takes its name. Final.

    Reads are safe for threads and for processes that were forked.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._number = -1
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.path = path

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from ``offset`` on; fewer where the file ends. Raises OSError."""
        data = os.pread(self._number, size, offset)
        while 0 < len(data) < size:  # one call gives 2 GiB at most, and less where it is interrupted
            more = os.pread(self._number, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)
