"""Damage of every kind to a folder of shards, and what a reader of it has to find."""

import dataclasses
import io
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class Place:
    """A shard, and the member (``{key}.{extension}``) where it is of one."""

    shard: str
    member: str | None = None


class SoundShards:
    """A folder of shards as they were written: what lies where, by the tars' own headers. Final.

    Attributes:
        members: per shard, in their order.
    """

    def __init__(self, folder: Path) -> None:
        self._bytes = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.members: dict[str, Sequence[tarfile.TarInfo]] = {}
        for name in (name for name in self._bytes if name.endswith(".tar")):
            with tarfile.open(folder / name) as tar:
                self.members[name] = tar.getmembers()

    def write(self, folder: Path) -> None:
        """Make a copy."""
        folder.mkdir()
        for name, content in self._bytes.items():
            (folder / name).write_bytes(content)

    def size(self, shard: str) -> int:
        return len(self._bytes[shard])

    def data(self, shard: str, member: tarfile.TarInfo) -> bytes:
        """What was written as a member."""
        return self._bytes[shard][member.offset_data : member.offset_data + member.size]

    def lost(self, folder: Path) -> set[str]:
        """Keys of the samples of which some member is not where it was written, byte by byte."""
        keys = set()
        for shard, members in self.members.items():
            path = folder / shard
            now = path.read_bytes() if path.exists() else b""
            for member in members:
                if now[member.offset_data : member.offset_data + member.size] != self.data(shard, member):
                    keys.add(member.name.partition(".")[0])
        return keys


class Damage(ABC):
    """One kind of damage.

    Attributes:
        name: for tables.
    """

    name: str

    @abstractmethod
    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        """Damage a copy somewhere; returns every place that has to be named."""


class BitFlip(Damage):
    """A bit anywhere in a shard: in data, a header, or the padding. Final."""

    name = "bit flips"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        shard = _shards(sound, random, 1)[0]
        place = int(random.integers(sound.size(shard)))
        data = bytearray((folder / shard).read_bytes())
        data[place] ^= 1 << int(random.integers(8))
        (folder / shard).write_bytes(data)
        around = [member for member in sound.members[shard] if member.offset <= place < _end(member)]
        return [Place(shard, around[0].name if around else None)]


class Truncation(Damage):
    """A shard that ends early: at a boundary of members, in a header, or anywhere. Final."""

    name = "truncations"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        shard = _shards(sound, random, 1)[0]
        member = sound.members[shard][int(random.integers(len(sound.members[shard])))]
        anywhere = int(random.integers(sound.size(shard)))
        length = (member.offset, member.offset + int(random.integers(1, _BLOCK)), anywhere)[int(random.integers(3))]
        (folder / shard).write_bytes((folder / shard).read_bytes()[:length])
        lost = [member for member in sound.members[shard] if member.offset_data + member.size > length]
        return [Place(shard, lost[0].name if lost else None)]


class MissingShard(Damage):
    """A shard that is not there. Final."""

    name = "deleted shards"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        shard = _shards(sound, random, 1)[0]
        (folder / shard).unlink()
        return [Place(shard)]


class MissingMember(Damage):
    """A shard packed anew without one of its members. Final."""

    name = "deleted members"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        shard = _shards(sound, random, 1)[0]
        gone = _members(sound, shard, random, 1)[0].name
        files = {member.name: sound.data(shard, member) for member in sound.members[shard] if member.name != gone}
        _pack(folder / shard, sound.members[shard], files)
        return [Place(shard, gone)]


class SwappedShards(Damage):
    """Two shards under each other's name. Final."""

    name = "swapped shards"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        a, b = (folder / name for name in _shards(sound, random, 2))
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)
        return [Place(a.name), Place(b.name)]


class SwappedMembers(Damage):
    """Two members under each other's name. Final."""

    name = "swapped members"

    def apply(self, folder: Path, sound: SoundShards, random: np.random.Generator) -> list[Place]:
        shard = _shards(sound, random, 1)[0]
        a, b = _members(sound, shard, random, 2)
        files = {member.name: sound.data(shard, member) for member in sound.members[shard]}
        files[a.name], files[b.name] = files[b.name], files[a.name]
        _pack(folder / shard, sound.members[shard], files)
        return [Place(shard, a.name), Place(shard, b.name)]


DAMAGES: Sequence[Damage] = (
    BitFlip(),
    Truncation(),
    MissingShard(),
    MissingMember(),
    SwappedShards(),
    SwappedMembers(),
)


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // _BLOCK) * _BLOCK


def _shards(sound: SoundShards, random: np.random.Generator, count: int) -> list[str]:
    return [list(sound.members)[i] for i in random.choice(len(sound.members), count, replace=False)]


def _members(sound: SoundShards, shard: str, random: np.random.Generator, count: int) -> list[tarfile.TarInfo]:
    members = sound.members[shard]
    return [members[i] for i in random.choice(len(members), count, replace=False)]


def _pack(path: Path, members: Sequence[tarfile.TarInfo], files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member in members:
            if member.name in files:
                member.size, size = len(files[member.name]), member.size
                tar.addfile(member, io.BytesIO(files[member.name]))
                member.size = size
