"""``manifest.json``: what every shard of a capture holds, byte by byte.

Per shard: ``name``, ``samples``, ``bytes``, ``sha256``, ``lamps`` (the most in one frame); per sample: ``keys`` (joined
by blanks), ``subject`` (number in ``capture.json``), ``held_out`` (0 or 1), ``layout`` (number of the list of member
extensions in ``layouts``); per member, samples in order and members in the order of their layout: ``block`` where the
data begins in the tar (in units of 512 bytes), ``size`` in bytes and ``crc32``. Numbers per sample and per member are
8 hexadecimal digits each, joined: they load a hundred times faster than JSON numbers. A shard is a line, and the
columns of its members end it: who opens a large set can leave them unread (``datasets.manifest_index``).
"""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, read_json
from datasets.member_table import BLOCK, MemberArrays, MemberTable, from_digits, to_digits

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2

REPAIR = "rebuild it with vrmm shards verify --repair-manifest"
BEFORE_SHARDS = b', "shards": [\n'
COLUMNS = ("block", "size", "crc32")  # of members, the last on a shard's line
_SHARD_NAME = re.compile(r"[^./\\][^/\\]*\.tar")  # a file beside the manifest, never one elsewhere
NOT_A_SHARD = (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar: S samples and M members."""

    name: str
    bytes: int
    sha256: str
    lamps: int
    keys: tuple[str, ...]
    subject: Int[np.ndarray, "S"]
    held_out: Int[np.ndarray, "S"]
    layouts: tuple[tuple[str, ...], ...]
    layout: Int[np.ndarray, "S"]
    members: MemberTable

    @property
    def samples(self) -> int:
        return len(self.keys)

    @property
    def first(self) -> Int[np.ndarray, "S"]:
        """Row of each sample's first member."""
        lengths = np.array([len(layout) for layout in self.layouts], np.int64)[self.layout]
        return np.cumsum(lengths) - lengths

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "samples": self.samples,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "lamps": self.lamps,
            "keys": " ".join(self.keys),
            "subject": to_digits(self.subject),
            "held_out": to_digits(self.held_out),
            "layouts": [list(layout) for layout in self.layouts],
            "layout": to_digits(self.layout),
            "block": to_digits(self.members.offset // BLOCK),
            "size": to_digits(self.members.size),
            "crc32": to_digits(self.members.crc32),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Shard":
        """Raises one of ``NOT_A_SHARD`` for anything but ``to_json``'s output."""
        offset, size, crc32 = (from_digits(value[column]) for column in COLUMNS)

        def table(members: int) -> MemberTable:
            if {len(offset), len(size), len(crc32)} != {members}:
                raise ValueError("it lists another number of members than of offsets, sizes or checksums")
            return MemberArrays(offset.astype(np.int64) * BLOCK, size, crc32)

        shard = Shard.from_record(value, table)
        ends = shard.members.offset + shard.members.size
        if len(ends) and not (shard.members.offset.min() > 0 and ends.max() <= shard.bytes):
            raise ValueError(f"{shard.name} lists a member outside its {shard.bytes} bytes")
        return shard

    @staticmethod
    def from_record(value: dict[str, Any], members: Callable[[int], MemberTable]) -> "Shard":
        """A shard out of everything in ``to_json``'s output but its columns of members, which ``members`` gives.

        Args:
            members: gives the table of so many members; it is not looked into here.

        Raises one of ``NOT_A_SHARD`` for anything else.
        """
        layouts = tuple(tuple(layout) for layout in value["layouts"])
        layout = from_digits(value["layout"]).astype(np.int64)
        shard = Shard(
            name=value["name"],
            bytes=int(value["bytes"]),
            sha256=value["sha256"],
            lamps=int(value["lamps"]),
            keys=tuple(value["keys"].split(" ")) if value["keys"] else (),
            subject=from_digits(value["subject"]).astype(np.int64),
            held_out=from_digits(value["held_out"]).astype(np.int64),
            layouts=layouts,
            layout=layout,
            members=members(int(np.array([len(one) for one in layouts], np.int64)[layout].sum())),
        )
        if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
            raise ValueError(f"{shard.name!r} is no name of a shard")
        "".join(extension for one in layouts for extension in one)  # raises TypeError for other than text
        if shard.lamps < 0 or (shard.held_out > 1).any():
            raise ValueError(f"{shard.name} lists numbers that are out of range")
        if {len(shard.keys), int(value["samples"])} != {len(shard.subject), len(shard.held_out), len(shard.layout)}:
            raise ValueError(f"{shard.name} lists another number of keys than of samples")
        return shard


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """All shards of a capture; ``capture_sha256`` is that of ``capture.json`` when they were built."""

    capture: str
    capture_sha256: str
    shards: tuple[Shard, ...]

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Manifest":
        """Raises one of ``NOT_A_SHARD`` for anything but what ``manifest_bytes`` writes."""
        shards = tuple(Shard.from_json(shard) for shard in value["shards"])
        return Manifest(capture=value["capture"], capture_sha256=value["capture_sha256"], shards=shards)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, the last file of a build: where it is, all shards are."""
    atomic_write_bytes(Path(folder) / MANIFEST, manifest_bytes(manifest))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of ``manifest.json``; equal manifests give equal bytes."""
    head = {"schema_version": MANIFEST_VERSION, "capture": manifest.capture, "capture_sha256": manifest.capture_sha256}
    shards = ",\n".join(json.dumps(shard.to_json(), separators=(",", ":")) for shard in manifest.shards)
    return json.dumps(head)[:-1].encode() + BEFORE_SHARDS + f"{shards}\n]}}\n".encode()


def check_version(value: Any) -> None:
    """Raises ValueError for what is no manifest of this version."""
    if not isinstance(value, dict) or value.get("schema_version") != MANIFEST_VERSION:
        raise ValueError(f"is not a shard manifest of version {MANIFEST_VERSION}; build the shards again")


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        VrmmError: there is none, it is of another version or it contradicts itself.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise VrmmError(f"{folder} holds no finished shards ({MANIFEST} is absent); run vrmm shards build")
    value = read_json(path, "a shard manifest")
    try:
        check_version(value)
    except ValueError as error:
        raise VrmmError(f"{path} {error}") from None
    try:
        return Manifest.from_json(value)
    except NOT_A_SHARD as error:
        raise VrmmError(
            f"{path} is damaged ({error!r}); rebuild it with vrmm shards verify --repair-manifest"
        ) from error


def sample_keys(info: CaptureInfo, shard: Shard) -> Sequence[str]:
    """The keys of a shard's samples in the set: as its tar has them, unless the set was merged.

    Raises:
        VrmmError: the manifest names subjects that the shard's capture lacks.
    """
    source = info.parts[info.part_of(shard.name)]
    present = np.unique(shard.subject).tolist()
    own_names = {name: own for own, name in source.subjects.items()}
    named = {number: info.subjects[number] for number in present if number < len(info.subjects)}
    local = {number: own_names[name] for number, name in named.items() if name in own_names}
    strangers = [number for number in present if number not in local]
    if strangers:
        raise VrmmError(f"{shard.name} lists subject number {strangers[0]}, which its capture lacks; {REPAIR}")
    if not info.sources:
        return shard.keys
    return [source.key(local[number], key) for number, key in zip(shard.subject.tolist(), shard.keys, strict=True)]
