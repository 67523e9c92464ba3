"""``manifest.json``: what every shard of a capture holds, byte by byte.

Per shard: ``name``, ``samples``, ``bytes``, ``sha256``, ``lamps`` (the most in one frame); per sample: ``keys`` (joined
by blanks), ``subject`` (number in ``capture.json``), ``held_out`` (0 or 1), ``layout`` (number of the list of member
extensions in ``layouts``); per member, samples in order and members in the order of their layout: ``block`` where the
data begins in the tar (in units of 512 bytes), ``size`` in bytes and ``crc32``. Numbers per sample and per member are
8 hexadecimal digits each, joined: they load a hundred times faster than JSON numbers, so that millions of members
open in about a second.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt32

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, read_json

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2
BLOCK = 512  # bytes: headers and data of a tar begin at its multiples

REPAIR = "rebuild it with vrmm shards verify --repair-manifest"
_SHARD_NAME = re.compile(r"[^./\\][^/\\]*\.tar")  # a file beside the manifest, never one elsewhere
NOT_A_SHARD = (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError)
_COLUMN = ">u4"


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
    offset: Int[np.ndarray, "M"]
    size: Int[np.ndarray, "M"]
    crc32: UInt32[np.ndarray, "M"]

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
            "subject": _to_digits(self.subject),
            "held_out": _to_digits(self.held_out),
            "layouts": [list(layout) for layout in self.layouts],
            "layout": _to_digits(self.layout),
            "block": _to_digits(self.offset // BLOCK),
            "size": _to_digits(self.size),
            "crc32": _to_digits(self.crc32),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Shard":
        """Raises one of ``NOT_A_SHARD`` for anything but ``to_json``'s output."""
        shard = Shard(
            name=value["name"],
            bytes=int(value["bytes"]),
            sha256=value["sha256"],
            lamps=int(value["lamps"]),
            keys=tuple(value["keys"].split(" ")) if value["keys"] else (),
            subject=_from_digits(value["subject"], np.int64),
            held_out=_from_digits(value["held_out"], np.int64),
            layouts=tuple(tuple(layout) for layout in value["layouts"]),
            layout=_from_digits(value["layout"], np.int64),
            offset=_from_digits(value["block"], np.int64) * BLOCK,
            size=_from_digits(value["size"], np.int64),
            crc32=_from_digits(value["crc32"], np.uint32),
        )
        if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
            raise ValueError(f"{shard.name!r} is no name of a shard")
        "".join(extension for layout in shard.layouts for extension in layout)  # raises TypeError for other than text
        if shard.lamps < 0 or (shard.held_out > 1).any():
            raise ValueError(f"{shard.name} lists numbers that are out of range")
        members = int(np.array([len(layout) for layout in shard.layouts], np.int64)[shard.layout].sum())
        if {len(shard.keys), int(value["samples"])} != {len(shard.subject), len(shard.held_out), len(shard.layout)}:
            raise ValueError(f"{shard.name} lists another number of keys than of samples")
        if {members} != {len(shard.offset), len(shard.size), len(shard.crc32)}:
            raise ValueError(f"{shard.name} lists another number of members than of offsets, sizes or checksums")
        if len(shard.offset) and not (shard.offset.min() > 0 and (shard.offset + shard.size).max() <= shard.bytes):
            raise ValueError(f"{shard.name} lists a member outside its {shard.bytes} bytes")
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
    return (json.dumps(head)[:-1] + f', "shards": [\n{shards}\n]}}\n').encode()


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        VrmmError: there is none, it is of another version or it contradicts itself.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise VrmmError(f"{folder} holds no finished shards ({MANIFEST} is absent); run vrmm shards build")
    value = read_json(path, "a shard manifest")
    if not isinstance(value, dict) or value.get("schema_version") != MANIFEST_VERSION:
        raise VrmmError(f"{path} is not a shard manifest of version {MANIFEST_VERSION}; build the shards again")
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


def _to_digits(column: np.ndarray) -> str:
    return column.astype(_COLUMN).tobytes().hex()


def _from_digits(text: str, dtype: type[np.generic]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), _COLUMN).astype(dtype)
