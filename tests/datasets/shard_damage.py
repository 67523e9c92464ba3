"""Real damage to folders of shards."""

import io
import tarfile
from pathlib import Path

import numpy as np


def copy_of(source: Path, target: Path) -> Path:
    """A copy of a folder of shards that a test may damage."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tar_members(path: Path) -> list[tarfile.TarInfo]:
    """The members of a sound tar."""
    with tarfile.open(path) as tar:
        return tar.getmembers()


def flip_bit(path: Path, place: int, rng: np.random.Generator) -> None:
    """Flip a random bit of a byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path: Path, length: int) -> None:
    """Truncate a file."""
    with open(path, "r+b") as file:
        file.truncate(length)


def repack(path: Path, *, drop: str = "", double: str = "") -> None:
    """Pack a tar anew without one member and with another one twice."""
    out = io.BytesIO()
    with tarfile.open(path) as source, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for member in source.getmembers():
            file = source.extractfile(member)
            assert file is not None
            data = file.read()
            for _ in range((member.name != drop) + (member.name == double)):
                target.addfile(member, io.BytesIO(data))
    path.write_bytes(out.getvalue())


def swap_files(a: Path, b: Path) -> None:
    """Exchange the contents of two files."""
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)


def digits(numbers: list[int]) -> str:
    """A column of a manifest, as docs/formats.md tells it."""
    return "".join(f"{number:08x}" for number in numbers)


def from_digits(text: str) -> list[int]:
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
