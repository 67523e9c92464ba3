"""Zip archives of a data set: any member by name, checked, without unpacking anything to disk."""

import os
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.errors import VrmmError

MAX_MEMBER_BYTES = 1 << 29
"""A member that declares more is refused: no picture or table of a frame is half a gigabyte."""

_HEADER = struct.Struct("<4s5H3I2H")  # local file header, APPNOTE.TXT 4.3.7
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1


class Archive:
    """The members of one zip. Final.

    Its directory is read once, when the first member is wanted, into about 60 bytes a member, because a light stage
    has a hundred archives of ten thousand pictures. No file stays open.

    Args:
        path: of the zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: _Directory | None = None

    def names(self) -> list[str]:
        """All members but folders, sorted. Raises VrmmError for an archive that cannot be trusted or read."""
        return [name.decode() for name in self._directory().names.tolist()]

    def find(self, *names: str) -> str | None:
        """The first of ``names`` that is a member."""
        return next((name for name in names if self._directory().row(name) is not None), None)

    def read(self, name: str) -> bytes:
        """A member's bytes, checked against its CRC-32.

        Raises:
            VrmmError: no such member, a damaged one, or one that declares more than ``MAX_MEMBER_BYTES``.
        """
        directory = self._directory()
        row = directory.row(name)
        if row is None:
            raise VrmmError(f"{self.path} has no member {name}; is the download complete?")
        offset, packed, size, crc32, method = directory.table[row].tolist()
        if size > MAX_MEMBER_BYTES:
            raise VrmmError(f"{self.path}: {name} unpacks to {size} bytes; that is no file of a capture")
        try:
            data = self._unpack(offset, packed, size, method)
        except (OSError, ValueError, zlib.error, struct.error) as error:
            raise VrmmError(f"{self.path}: {name} cannot be unpacked ({error}); download the archive again") from error
        if len(data) != size or zlib.crc32(data) != crc32:
            raise VrmmError(f"{self.path}: {name} is damaged (its checksum differs); download the archive again")
        return data

    def _unpack(self, offset: int, packed: int, size: int, method: int) -> bytes:
        with open(self.path, "rb") as file:
            header = _HEADER.unpack(os.pread(file.fileno(), _HEADER.size, offset))
            if header[0] != _SIGNATURE:
                raise ValueError("its header is not where the directory says")
            data = os.pread(file.fileno(), packed, offset + _HEADER.size + header[9] + header[10])
        if method == zipfile.ZIP_STORED:
            return data
        if method == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)  # never more than it declares
        raise ValueError(f"compression method {method}; pack the archive again with deflate")

    def _directory(self) -> "_Directory":
        if self._members is None:
            self._members = _Directory(self.path)
        return self._members


class _Directory:
    """Names (sorted bytes) and [M, 5] offset, packed size, size, CRC-32 and method of every member."""

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
        except FileNotFoundError:
            raise VrmmError(f"{path} does not exist; is the download complete?") from None
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise VrmmError(f"{path} is no whole zip archive ({error}); download it again") from error
        for member in members:
            _check_member(path, member)
        rows = [(m.header_offset, m.compress_size, m.file_size, m.CRC, m.compress_type) for m in members]
        names = np.array([member.filename.encode() for member in members], np.bytes_)
        order = np.argsort(names, kind="stable")
        self.names = names[order]
        self.table = np.array(rows, np.int64).reshape(-1, 5)[order]

    def row(self, name: str) -> int | None:
        place = int(np.searchsorted(self.names, name.encode()))
        return place if place < len(self.names) and self.names[place] == name.encode() else None


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Raises VrmmError for a name that leads out of the archive, and for encryption."""
    parts = PurePosixPath(member.filename).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in member.filename or ":" in parts[0]:
        raise VrmmError(f"{path} has a member {member.filename!r} that leads out of its folder; do not use the archive")
    if member.flag_bits & _ENCRYPTED:
        raise VrmmError(f"{path}: {member.filename} is encrypted; unlock the archive first")
