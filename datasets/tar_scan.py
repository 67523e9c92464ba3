"""What a tar holds, read from its own headers, past damage."""

import dataclasses
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from datasets.member_table import BLOCK

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class TarMember:
    """A file in a tar: its data lie at ``offset``; ``crc32`` is None where they are cut off."""

    key: str
    extension: str
    offset: int
    size: int
    crc32: int | None

    @property
    def name(self) -> str:
        return f"{self.key}.{self.extension}"


@dataclasses.dataclass(frozen=True)
class TarScan:
    """Members in their order; ranges of bytes where a header should be and is none; whether the archive was ended."""

    members: tuple[TarMember, ...]
    garbled: tuple[tuple[int, int], ...]
    ended: bool

    def samples(self) -> dict[str, list[int]]:
        """The rows of each key's members."""
        rows: dict[str, list[int]] = {}
        for row, member in enumerate(self.members):
            rows.setdefault(member.key, []).append(row)
        return rows

    @staticmethod
    def read(path: Path, member: TarMember) -> bytes:
        """The data of a member. Raises OSError."""
        with open(path, "rb") as file:
            file.seek(member.offset)
            return file.read(member.size)


def scan_tar(path: Path) -> TarScan:
    """Read all headers and data of a tar; past a garbled header the next readable one is looked for.

    Raises:
        OSError: the file cannot be read.
    """
    members: list[TarMember] = []
    garbled: list[tuple[int, int]] = []
    length, position, ended = path.stat().st_size, 0, False
    with open(path, "rb") as file:
        while position + BLOCK <= length:
            file.seek(position)
            block = file.read(BLOCK)
            header = _header(block)
            if header is None:
                after = _next_header(path, position + BLOCK, length)
                ended = after is None and not any(block)
                if not ended:
                    garbled.append((position, after or length))
                if after is None:
                    break
                position = after
                continue
            key, _, extension = header.name.partition(".")
            data = file.read(header.size)
            crc32 = zlib.crc32(data) if len(data) == header.size else None
            if header.isreg():
                members.append(TarMember(key, extension, position + BLOCK, header.size, crc32))
            else:
                garbled.append((position, position + BLOCK))  # a directory, a link: no member of a sample
            position += BLOCK + -(-header.size // BLOCK) * BLOCK
    return TarScan(tuple(members), tuple(garbled), ended)


def checks_itself(extension: str) -> bool:
    """Files of this format hold checksums of all that matters in them."""
    return extension.rpartition(".")[2] in _CHECKS


def is_sound(extension: str, data: bytes) -> bool:
    """What a file's own checksums say of its bytes; True for formats that have none."""
    return not checks_itself(extension) or _CHECKS[extension.rpartition(".")[2]](data)


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return header if block[257:262] == b"ustar" and header.size >= 0 else None


def _next_header(path: Path, start: int, length: int) -> int | None:
    with open(path, "rb") as file:
        file.seek(start)
        for position in range(start, length - BLOCK + 1, BLOCK):
            if _header(file.read(BLOCK)) is not None:
                return position
    return None


def _png_is_sound(data: bytes) -> bool:
    """Every chunk has a CRC-32 of its type and data (ISO/IEC 15948, 5.3)."""
    ends = list(_png_chunks(data))
    return data[:8] == _PNG and bool(ends) and ends[-1] == len(data)


def _png_chunks(data: bytes) -> Iterator[int]:
    """Where each sound chunk ends, up to the last or the first that is damaged."""
    position = len(_PNG)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return
        yield end
        if data[position + 4 : position + 8] == b"IEND":
            return
        position = end


def _zip_is_sound(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError, zlib.error):
        return False


_CHECKS = {"png": _png_is_sound, "npz": _zip_is_sound}
