"""``manifest.json``: what every shard of a capture holds, byte by byte.

Per shard: ``name``, ``bytes``, ``sha256``, ``lamps`` (the most in one frame), ``layouts`` (lists of member extensions),
and how long the columns are that follow: ``samples``, ``members``, ``key_bytes``. Per sample: ``subject`` (number in
``capture.json``), ``held_out`` (0 or 1), ``layout`` (number in ``layouts``), ``keys`` (joined by blanks). Per member,
samples in order and members in the order of their layout: ``block`` where the data begins in the tar (in units of 512
bytes), ``size`` in bytes and ``crc32``. Numbers per sample and per member are 8 hexadecimal digits each, joined: they
load a hundred times faster than JSON numbers. A shard is a line, and its columns end it in this order: who opens a
large set can leave most of them unread (``datasets.manifest_index``).
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, read_json
from datasets.key_column import KeyColumn
from datasets.member_table import BLOCK, MemberArrays, MemberTable, from_digits, to_digits

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2

REPAIR = "rebuild it with vrmm shards verify --repair-manifest"
BEFORE_SHARDS = b', "shards": [\n'
SAMPLE_COLUMNS, KEYS, MEMBER_COLUMNS = ("subject", "held_out", "layout"), "keys", ("block", "size", "crc32")
_SHARD_NAME = re.compile(r"[^./\\][^/\\]*\.tar")  # a file beside the manifest, never one elsewhere
NOT_A_SHARD = (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar: S samples and M members."""

    name: str
    bytes: int
    sha256: str
    lamps: int
    keys: tuple[str, ...] | KeyColumn
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
        keys = " ".join(self.keys)
        return {
            "name": self.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "lamps": self.lamps,
            "layouts": [list(layout) for layout in self.layouts],
            "samples": self.samples,
            "members": len(self.members),
            "key_bytes": len(json.dumps(keys)) - len('""'),
            "subject": to_digits(self.subject),
            "held_out": to_digits(self.held_out),
            "layout": to_digits(self.layout),
            "keys": keys,
            "block": to_digits(self.members.offset // BLOCK),
            "size": to_digits(self.members.size),
            "crc32": to_digits(self.members.crc32),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Shard":
        """Raises one of ``NOT_A_SHARD`` for anything but ``to_json``'s output."""
        block, size, crc32 = (from_digits(value[column]) for column in MEMBER_COLUMNS)
        if not len(block) == len(size) == len(crc32):
            raise ValueError("it lists another number of members than of sizes or checksums")
        keys = tuple(value[KEYS].split(" ")) if value[KEYS] else ()
        shard = Shard.from_record(value, keys, MemberArrays(block.astype(np.int64) * BLOCK, size, crc32))
        ends = shard.members.offset + shard.members.size
        if len(ends) and not (shard.members.offset.min() > 0 and ends.max() <= shard.bytes):
            raise ValueError(f"{shard.name} lists a member outside its {shard.bytes} bytes")
        return shard

    @staticmethod
    def from_record(value: dict[str, Any], keys: tuple[str, ...] | KeyColumn, members: MemberTable) -> "Shard":
        """A shard out of everything in ``to_json``'s output but its keys and its members.

        Args:
            keys, members: what stands for those; they are not looked into here.

        Raises one of ``NOT_A_SHARD`` for anything else.
        """
        subject, held_out, layout = (from_digits(value[column]).astype(np.int64) for column in SAMPLE_COLUMNS)
        layouts = tuple(tuple(one) for one in value["layouts"])
        shard = Shard(
            name=value["name"],
            bytes=int(value["bytes"]),
            sha256=value["sha256"],
            lamps=int(value["lamps"]),
            keys=keys,
            subject=subject,
            held_out=held_out,
            layouts=layouts,
            layout=layout,
            members=members,
        )
        if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
            raise ValueError(f"{shard.name!r} is no name of a shard")
        "".join(extension for one in layouts for extension in one)  # raises TypeError for other than text
        if shard.lamps < 0 or (held_out > 1).any():
            raise ValueError(f"{shard.name} lists numbers that are out of range")
        if {len(keys), int(value["samples"])} != {len(subject), len(held_out), len(layout)}:
            raise ValueError(f"{shard.name} lists another number of keys than of samples")
        if len(members) != np.array([len(one) for one in layouts], np.int64)[layout].sum():
            raise ValueError(f"{shard.name} lists another number of members than its samples have")
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
