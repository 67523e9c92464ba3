"""Where the members of a shard lie: three columns of ``manifest.json``, as arrays or as the digits in the file.

A training set of a million samples has several million members, of which a step reads a handful: whoever opens the
set takes the digits as they lie in the file and looks at those of the members that are asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt32

from datasets.errors import VrmmError
from datasets.held_file import HeldFile

BLOCK = 512  # bytes: headers and data of a tar begin at its multiples
DIGITS = 8  # of a number in a column
_COLUMN = ">u4"
WAY_OUT = "vrmm shards verify finds all damage, and --repair-manifest rebuilds it"


class Member(NamedTuple):
    """One file in a tar: where its data begins, how many bytes it has, and their CRC-32."""

    offset: int
    size: int
    crc32: int


class MemberTable(ABC):
    """All M members of a shard, samples in order and members in the order of their sample's layout."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def at(self, row: int) -> Member:
        """One of them. Raises VrmmError where the manifest has no numbers there."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Of memory that it holds."""

    @property
    @abstractmethod
    def offset(self) -> Int[np.ndarray, "M"]:
        """Where each begins, bytes."""

    @property
    @abstractmethod
    def size(self) -> Int[np.ndarray, "M"]:
        """Bytes of each."""

    @property
    @abstractmethod
    def crc32(self) -> UInt32[np.ndarray, "M"]: ...


class MemberArrays(MemberTable):
    """Columns in memory. Final.

    Args:
        offset, size, crc32: [M].
    """

    def __init__(self, offset: np.ndarray, size: np.ndarray, crc32: np.ndarray) -> None:
        self._offset, self._size = offset.astype(np.int64), size.astype(np.int64)
        self._crc32 = crc32.astype(np.uint32)

    def __len__(self) -> int:
        return len(self._offset)

    def at(self, row: int) -> Member:
        return Member(int(self._offset[row]), int(self._size[row]), int(self._crc32[row]))

    @property
    def nbytes(self) -> int:
        return self._offset.nbytes + self._size.nbytes + self._crc32.nbytes

    @property
    def offset(self) -> Int[np.ndarray, "M"]:
        return self._offset

    @property
    def size(self) -> Int[np.ndarray, "M"]:
        return self._size

    @property
    def crc32(self) -> UInt32[np.ndarray, "M"]:
        return self._crc32


class MemberDigits(MemberTable):
    """Columns as digits in a manifest, read and checked when they are asked for. Final.

    Args:
        file: the manifest.
        starts: places of the first digits of the columns ``block``, ``size`` and ``crc32``.
        count: members.
    """

    def __init__(self, file: HeldFile, starts: Sequence[int], count: int) -> None:
        self.starts, self._file, self._count = tuple(starts), file, count

    def __len__(self) -> int:
        return self._count

    def at(self, row: int) -> Member:
        block, size, crc32 = (int(self._column(which, row, 1)[0]) for which in range(3))
        return Member(block * BLOCK, size, crc32)

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def offset(self) -> Int[np.ndarray, "M"]:
        return self._column(0, 0, self._count).astype(np.int64) * BLOCK

    @property
    def size(self) -> Int[np.ndarray, "M"]:
        return self._column(1, 0, self._count).astype(np.int64)

    @property
    def crc32(self) -> UInt32[np.ndarray, "M"]:
        return self._column(2, 0, self._count).astype(np.uint32)

    def _column(self, which: int, row: int, rows: int) -> np.ndarray:
        try:
            column = from_digits(self._file.read(self.starts[which] + DIGITS * row, DIGITS * rows).decode("ascii"))
        except (OSError, ValueError) as error:
            raise VrmmError(f"{self._file.path} cannot be read or is damaged ({error}); {WAY_OUT}") from error
        if len(column) != rows:
            raise VrmmError(f"{self._file.path} is cut off or damaged; {WAY_OUT}")
        return column


def to_digits(column: np.ndarray) -> str:
    """Numbers below 2³² as 8 hexadecimal digits each, joined."""
    return column.astype(_COLUMN).tobytes().hex()


def from_digits(text: str) -> np.ndarray:
    """What ``to_digits`` wrote. Raises ValueError or TypeError for anything else."""
    return np.frombuffer(bytes.fromhex(text), _COLUMN)
