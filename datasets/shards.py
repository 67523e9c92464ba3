"""Reading shards: any member of any sample by its key, checked on the way.

``build_shards`` writes them (``datasets.shard_build``), ``verify_shards`` finds all damage
(``datasets.shard_verify``), ``open_shards`` reads.
"""

import functools
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt32

from datasets.capture import CaptureInfo, Frame
from datasets.disk_cache import DiskCache
from datasets.errors import VrmmError
from datasets.folder import CAPTURE, read_capture_info
from datasets.frames import LIGHT, META, frame_from_members
from datasets.manifest import MANIFEST, Manifest
from datasets.manifest_index import open_manifest
from datasets.member_table import Member
from datasets.sample_keys import keys_in_set, knows_subject, strange_subject
from datasets.shard_build import build_shards
from datasets.shard_verify import Problem, verify_shards
from datasets.storage import ForwardFile, Storage, open_storage

__all__ = ["DamageError", "Problem", "ShardSet", "build_shards", "open_shards", "verify_shards"]

_IMAGE, _MASK = re.compile(r"([^.]+)\.rgb\.[^.]+"), re.compile(r"([^.]+)\.mask\.png")


class DamageError(VrmmError):
    """Bytes of a sample that are lost or not what was written.

    Attributes:
        shard, key, member: file name, sample key and member extension.
    """

    def __init__(self, storage: Storage, shard: str, key: str, member: str, reason: str) -> None:
        self.shard, self.key, self.member = shard, key, member
        verify = "" if storage.remote else f"find all damage with vrmm shards verify {storage.location}, "
        super().__init__(
            f"{storage.where(shard)}: member {member} of sample {key} {reason}; {verify}copy the shard again, or "
            "train on without it: on_error=skip"
        )


def open_shards(folder: Path | str, cache: DiskCache | None = None) -> "ShardSet":
    """Open the shards that ``build_shards`` wrote.

    Args:
        folder: a local folder, or a URL such as ``https://host/path`` or ``s3://bucket/path``.
        cache: keeps members that were read; for shards that are far away.

    Raises:
        VrmmError: there are none, or the URL cannot be read.
    """
    storage = open_storage(folder)
    if not storage.remote:
        place = Path(storage.location)
        return ShardSet(storage, read_capture_info(place), open_manifest(place), cache)
    with tempfile.TemporaryDirectory() as place:
        try:
            for name in (CAPTURE, MANIFEST):
                (Path(place) / name).write_bytes(storage.read_whole(name))
            return ShardSet(storage, read_capture_info(Path(place)), open_manifest(Path(place)), cache)
        except FileNotFoundError:
            raise VrmmError(
                f"{storage.location} holds no finished shards ({CAPTURE} or {MANIFEST} is absent); copy all files of "
                "the folder that vrmm shards build wrote there"
            ) from None
        except OSError as error:
            raise VrmmError(f"{storage.location} cannot be read: {error.strerror}; is the place right?") from error
        except VrmmError as error:
            raise VrmmError(str(error).replace(place, storage.location)) from error


class ShardSet:
    """Random access to N samples of a capture, safe for threads. Final.

    Samples are numbered in storage order.

    Attributes:
        info: the capture's description.
        folder: where the shards lie, a path or a URL.
        samples_per_shard: [shards].
        subject: [N] number in ``info.subjects``.
        held_out: [N] the frame's own split (that of its subject is in ``info.subject_splits``).
        source: [N] number in ``info.parts`` of the capture that the sample is of.
        lamps: the largest number of lamps in one frame.
        lit: [N] some frame of the sample's shard says how it is lit; False for captures of unknown light.
        shard: [N] number of the shard that holds the sample.
        layout: [N] number of the sample's list of members.
        images: per layout, the member of each camera that has an image, for example ``{"front": "front.rgb.png"}``.
        parts: per layout, number in ``info.parts`` of the capture whose samples have it.
        masks: per layout, the member of each camera that has a mask.
    """

    def __init__(self, storage: Storage, info: CaptureInfo, manifest: Manifest, cache: DiskCache | None = None) -> None:
        shards = manifest.shards
        self.folder, self.info = storage.location, info
        self.lamps = max((shard.lamps for shard in shards), default=0)
        self.samples_per_shard = np.array([shard.samples for shard in shards], np.int64)
        self.subject = _join([shard.subject for shard in shards])
        self.held_out = _join([shard.held_out for shard in shards]).astype(bool)
        self._names = [shard.name for shard in shards]
        self.shard = np.repeat(np.arange(len(shards)), self.samples_per_shard)
        self.lit = np.array([shard.lamps > 0 for shard in shards], bool)[self.shard]
        self._own_keys, self._tables = [shard.keys for shard in shards], [shard.members for shard in shards]
        self._first_sample = np.cumsum(self.samples_per_shard) - self.samples_per_shard
        self._last_keys: tuple[int, Sequence[str]] = (-1, ())
        self._part = np.array([info.part_of(name) for name in self._names], np.int64)
        self.source = self._part[self.shard]
        self._check_subjects()
        self._layouts, self.layout, self.parts = _merge_layouts(manifest, self._part.tolist())
        self._first = _join([shard.first for shard in shards])  # row of each sample's first member in its shard's table
        self._column = [{extension: i for i, extension in enumerate(layout)} for layout in self._layouts]
        named = [(layout, info.parts[number].cameras) for layout, number in zip(self._layouts, self.parts, strict=True)]
        self.images = [_camera_members(layout, cameras, _IMAGE) for layout, cameras in named]
        self.masks = [_camera_members(layout, cameras, _MASK) for layout, cameras in named]
        self._storage, self._cache = storage, cache

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def remote(self) -> bool:
        """The shards are not on this machine's file systems."""
        return self._storage.remote

    @property
    def members(self) -> int:
        """How many files all samples have together."""
        return sum(map(len, self._tables))

    @property
    def index_bytes(self) -> int:
        """Of memory that the arrays of this index hold."""
        arrays = (value for value in vars(self).values() if isinstance(value, np.ndarray))
        return sum(array.nbytes for array in arrays) + sum(table.nbytes for table in self._tables)

    def largest_sample(self, views: int) -> int:
        """No sample's members have more bytes than this together where at most so many cameras are read."""
        sizes = _join([table.size for table in self._tables])
        first = self._first + self._before
        largest = 0
        for number, layout in enumerate(self._layouts):
            rows = first[self.layout == number]
            cameras: dict[str, int] = {}
            for column, extension in enumerate(layout):
                camera = extension.partition(".")[0] if extension.count(".") == 2 else ""
                cameras[camera] = cameras.get(camera, 0) + int(sizes[rows + column].max(initial=0))
            others = cameras.pop("", 0)
            largest = max(largest, others + sum(sorted(cameras.values())[-views:] if views else []))
        return largest

    def key(self, sample: int) -> str:
        """Raises VrmmError where the manifest is damaged there."""
        shard = int(self.shard[sample])
        number, keys = self._last_keys
        if number != shard:
            keys = self._keys_of(shard)
            self._last_keys = shard, keys
        return keys[int(sample - self._first_sample[shard])]

    def sample(self, key: str) -> int:
        """The number of the sample of that key. Raises VrmmError when there is none."""
        rank = int(np.searchsorted(self._keys, key.encode(), sorter=self._by_key))
        if rank < len(self) and self.key(int(self._by_key[rank])) == key:
            return int(self._by_key[rank])
        raise VrmmError(f"{self.folder} has no sample {key}; its first is {self.key(0)}")

    def extensions(self, sample: int) -> tuple[str, ...]:
        """The sample's members, for example ``("front.rgb.png", "light.npz", "meta.json")``."""
        return self._layouts[self.layout[sample]]

    def image_member(self, sample: int, camera: str) -> str | None:
        """The extension of the sample's image of that camera, or None if it has none."""
        return self.images[self.layout[sample]].get(camera)

    def mask_member(self, sample: int, camera: str) -> str | None:
        """The extension of the sample's mask of that camera, or None if it has none."""
        return self.masks[self.layout[sample]].get(camera)

    def own_name(self, sample: int, camera: str) -> str | None:
        """What the sample's own files (``lmk.npz``) call a camera of the set; None for one of another rig."""
        names = self.info.parts[self.source[sample]].cameras
        return next((own for own, name in names.items() if name == camera), None)

    def has(self, sample: int, extension: str) -> bool:
        return extension in self._column[self.layout[sample]]

    def size(self, sample: int, extension: str) -> int:
        """Bytes of a member. Raises VrmmError where the sample has none of that extension."""
        return self._member(sample, extension).size

    def read(self, sample: int, extension: str) -> bytes:
        """A member's bytes. Raises as ``read_members`` does."""
        return self.read_members(sample, [extension])[extension]

    def read_members(self, sample: int, extensions: Sequence[str]) -> dict[str, bytes]:
        """Some members' bytes by extension, checked against the manifest; from far away all at once.

        Raises:
            VrmmError: the sample has no such member.
            DamageError: the bytes are not those that were written.
        """
        members = [self._member(sample, extension) for extension in extensions]
        found = [self._cached(sample, member) for member in members]
        missing = [i for i, data in enumerate(found) if data is None]
        ranges = [(members[i].offset, members[i].size) for i in missing]
        try:
            fetched = self._storage.read_ranges(self.shard_name(sample), ranges) if ranges else []
        except OSError as error:
            raise self.damage(sample, extensions[missing[0]], f"cannot be read ({error.strerror})") from error
        for i, data in zip(missing, fetched, strict=True):
            self._check(sample, extensions[i], members[i], data)
            if self._cache is not None:
                self._cache.put(self._cache_key(sample, members[i]), data)
            found[i] = data
        return {extension: data for extension, data in zip(extensions, found, strict=True) if data is not None}

    def read_forward(self, file: ForwardFile, sample: int, extensions: Sequence[str]) -> dict[str, bytes]:
        """Like ``read_members``, out of ``open_forward``'s file, samples and members in storage order."""
        found = {}
        for extension in sorted(extensions, key=self._column[self.layout[sample]].__getitem__):
            member = self._member(sample, extension)
            try:
                data = file.read(member.offset, member.size)
            except OSError as error:
                raise self.damage(sample, extension, f"cannot be read ({error.strerror})") from error
            self._check(sample, extension, member, data)
            found[extension] = data
        return found

    def open_forward(self, shard: int) -> ForwardFile:
        """A shard to be read from front to back. Raises OSError."""
        return self._storage.open_forward(self._names[shard])

    def read_beside(self, name: str) -> bytes:
        """A file beside the shards. Raises OSError."""
        return self._storage.read_whole(name)

    def shard_name(self, sample: int) -> str:
        return self._names[self.shard[sample]]

    def checksums(self, extension: str) -> UInt32[np.ndarray, "N"]:
        """The CRC-32 of that member of every sample; 0 where a sample has none."""
        columns = np.array([layout.get(extension, -1) for layout in self._column], np.int64)[self.layout]
        rows = np.where(columns < 0, 0, self._first + self._before + columns)
        crc32 = _join([table.crc32 for table in self._tables])
        return np.where(columns < 0, 0, crc32[rows]).astype(np.uint32)

    def frame(self, sample: int) -> Frame:
        """The sample's description. Raises DamageError as ``read`` does."""
        return self.describe(sample, self.read_members(sample, [META, LIGHT]))

    def describe(self, sample: int, members: Mapping[str, bytes]) -> Frame:
        """The sample's description out of members that were read. Raises DamageError where they are none of it."""
        try:
            frame = self.info.parts[self.source[sample]].renamed(frame_from_members(members, "it"))
        except VrmmError as error:
            raise self.damage(sample, META, f"is no description of a frame: {error}") from error
        except KeyError as error:
            raise self.damage(sample, META, f"is of subject {error}, which the capture lacks") from error
        if frame.key != self.key(sample):
            raise self.damage(sample, META, f"describes {frame.key}: the manifest is of other shards")
        return frame

    def damage(self, sample: int, extension: str, reason: str) -> DamageError:
        """The error that names this member as damaged."""
        return DamageError(self._storage, self.shard_name(sample), self.key(sample), extension, reason)

    def _check_subjects(self) -> None:
        strange = np.flatnonzero(~knows_subject(self.info, self.source, self.subject))
        if len(strange):
            raise strange_subject(self.shard_name(int(strange[0])), self.subject[strange[:1]])

    @functools.cached_property
    def _keys(self) -> np.ndarray:
        """[N] as bytes of one width: several times smaller than a list of strings, and they sort in C."""
        every = [self._keys_of(shard) for shard in range(len(self._own_keys))]
        return _join([np.array([key.encode() for key in keys], np.bytes_) for keys in every])

    def _keys_of(self, shard: int) -> Sequence[str]:
        first = self._first_sample[shard]
        subject = self.subject[first : first + self.samples_per_shard[shard]]
        return keys_in_set(self.info, int(self._part[shard]), subject, tuple(self._own_keys[shard]))

    @functools.cached_property
    def _by_key(self) -> Int[np.ndarray, "N"]:
        return np.argsort(self._keys, kind="stable")

    @property
    def _before(self) -> Int[np.ndarray, "N"]:
        """How many members the shards before each sample's hold."""
        lengths = np.array([len(table) for table in self._tables], np.int64)
        return (np.cumsum(lengths) - lengths)[self.shard]

    def _member(self, sample: int, extension: str) -> Member:
        """Where a member lies. Raises VrmmError where the sample has none of that extension."""
        column = self._column[self.layout[sample]].get(extension)
        if column is None:
            raise VrmmError(f"sample {self.key(sample)} has no member {extension}")
        return self._tables[self.shard[sample]].at(int(self._first[sample]) + column)

    def _check(self, sample: int, extension: str, member: Member, data: bytes) -> None:
        if len(data) != member.size:
            raise self.damage(sample, extension, f"is cut off after {len(data)} of {member.size} bytes")
        if zlib.crc32(data) != member.crc32:
            raise self.damage(sample, extension, "is damaged (its checksum differs)")

    def _cached(self, sample: int, member: Member) -> bytes | None:
        if self._cache is None:
            return None
        key = self._cache_key(sample, member)
        data = self._cache.get(key)
        if data is not None and zlib.crc32(data) != member.crc32:
            self._cache.drop(key)
            return None
        return data

    def _cache_key(self, sample: int, member: Member) -> str:
        """Names the bytes, not just the place: a capture that was built again has other keys."""
        place = self._storage.where(self.shard_name(sample))
        return f"{place} {member.offset} {member.size} {member.crc32}"


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays]) if not arrays else np.concatenate(arrays)


def _merge_layouts(
    manifest: Manifest, parts: Sequence[int]
) -> tuple[list[tuple[str, ...]], Int[np.ndarray, "N"], list[int]]:
    """The distinct layouts of all shards, each sample's number among them, and the part that each layout is of.

    Layouts of different parts are distinct: what the same member means depends on the rig.
    """
    numbers: dict[tuple[int, tuple[str, ...]], int] = {}
    columns = []
    for shard, part in zip(manifest.shards, parts, strict=True):
        local = [numbers.setdefault((part, layout), len(numbers)) for layout in shard.layouts]
        columns.append(np.array(local, np.int64)[shard.layout])
    return [layout for _, layout in numbers], _join(columns), [part for part, _ in numbers]


def _camera_members(layout: tuple[str, ...], cameras: dict[str, str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Camera of the set → member, of the members that the pattern matches."""
    matches = ((pattern.fullmatch(extension), extension) for extension in layout)
    return {cameras[match[1]]: extension for match, extension in matches if match and match[1] in cameras}
