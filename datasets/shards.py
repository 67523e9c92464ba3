"""Reading shards: any member of any sample by its key, checked on the way.

``build_shards`` writes them (``datasets.shard_build``), ``verify_shards`` finds all damage
(``datasets.shard_verify``), ``open_shards`` reads.
"""

import os
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from datasets.capture import CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.folder import read_capture_info
from datasets.frames import LIGHT, META, frame_from_members
from datasets.manifest import Manifest, read_manifest, sample_keys
from datasets.shard_build import build_shards
from datasets.shard_verify import Problem, verify_shards

__all__ = ["DamageError", "Problem", "ShardSet", "build_shards", "open_shards", "verify_shards"]

_OPEN_FILES = 64
_IMAGE, _MASK = re.compile(r"([^.]+)\.rgb\.[^.]+"), re.compile(r"([^.]+)\.mask\.png")


class DamageError(VrmmError):
    """Bytes of a sample that are lost or not what was written.

    Attributes:
        shard, key, member: file name, sample key and member extension.
    """

    def __init__(self, folder: Path, shard: str, key: str, member: str, reason: str) -> None:
        self.shard, self.key, self.member = shard, key, member
        super().__init__(
            f"{folder / shard}: member {member} of sample {key} {reason}; find all damage with vrmm shards verify "
            f"{folder}, copy the shard again, or train on without it: on_error=skip"
        )


def open_shards(folder: Path | str) -> "ShardSet":
    """Open the shards that ``build_shards`` wrote. Raises VrmmError when there are none."""
    folder = Path(folder)
    return ShardSet(folder, read_capture_info(folder), read_manifest(folder))


class ShardSet:
    """Random access to N samples of a capture, safe for threads. Final.

    Samples are numbered in storage order.

    Attributes:
        info: the capture's description.
        folder: where the shards lie.
        samples_per_shard: [shards].
        subject: [N] number in ``info.subjects``.
        held_out: [N] the frame's own split (that of its subject is in ``info.subject_splits``).
        source: [N] number in ``info.parts`` of the capture that the sample is of.
        lamps: the largest number of lamps in one frame.
        shard: [N] number of the shard that holds the sample.
        layout: [N] number of the sample's list of members.
        images: per layout, the member of each camera that has an image, for example ``{"front": "front.rgb.png"}``.
        parts: per layout, number in ``info.parts`` of the capture whose samples have it.
        masks: per layout, the member of each camera that has a mask.
    """

    def __init__(self, folder: Path, info: CaptureInfo, manifest: Manifest) -> None:
        shards = manifest.shards
        self.folder, self.info = folder, info
        self.lamps = max((shard.lamps for shard in shards), default=0)
        self.samples_per_shard = np.array([shard.samples for shard in shards], np.int64)
        self.subject = _join([shard.subject for shard in shards])
        self.held_out = _join([shard.held_out for shard in shards]).astype(bool)
        self._names = [shard.name for shard in shards]
        self.shard = np.repeat(np.arange(len(shards)), self.samples_per_shard)
        # Fixed-width bytes are several times smaller than a list of strings, and sort in C.
        self._keys = np.array([key.encode() for shard in shards for key in sample_keys(info, shard)], np.bytes_)
        self._by_key = np.argsort(self._keys, kind="stable")
        self._offset = _join([shard.offset for shard in shards])
        self._size = _join([shard.size for shard in shards])
        self._crc32 = _join([shard.crc32 for shard in shards])
        parts = np.array([info.part_of(name) for name in self._names], np.int64)
        self.source = parts[self.shard]
        self._layouts, self.layout, self.parts = _merge_layouts(manifest, parts.tolist())
        lengths = np.array([len(layout) for layout in self._layouts], np.int64)[self.layout]
        self._first = np.cumsum(lengths) - lengths
        self._column = [{extension: i for i, extension in enumerate(layout)} for layout in self._layouts]
        named = [(layout, info.parts[number].cameras) for layout, number in zip(self._layouts, self.parts, strict=True)]
        self.images = [_camera_members(layout, cameras, _IMAGE) for layout, cameras in named]
        self.masks = [_camera_members(layout, cameras, _MASK) for layout, cameras in named]
        self._files = _OpenFiles(folder)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, sample: int) -> str:
        return self._keys[sample].decode()

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

    def read(self, sample: int, extension: str) -> bytes:
        """A member's bytes, checked against the manifest.

        Raises:
            VrmmError: the sample has no such member.
            DamageError: the bytes are not those that were written.
        """
        column = self._column[self.layout[sample]].get(extension)
        if column is None:
            raise VrmmError(f"sample {self.key(sample)} has no member {extension}")
        row = self._first[sample] + column
        size = int(self._size[row])
        try:
            data = self._files.read(self._names[self.shard[sample]], size, int(self._offset[row]))
        except OSError as error:
            raise self.damage(sample, extension, f"cannot be read ({error.strerror})") from error
        if len(data) != size:
            raise self.damage(sample, extension, f"is cut off after {len(data)} of {size} bytes")
        if zlib.crc32(data) != self._crc32[row]:
            raise self.damage(sample, extension, "is damaged (its checksum differs)")
        return data

    def frame(self, sample: int) -> Frame:
        """The sample's description. Raises DamageError as ``read`` does."""
        members = {name: self.read(sample, name) for name in (META, LIGHT)}
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
        shard = self._names[self.shard[sample]]
        return DamageError(self.folder, shard, self.key(sample), extension, reason)


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


class _OpenFiles:
    """The shards read last, held open. A file evicted here lives on until its last reader is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, _Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, name: str, size: int, offset: int) -> bytes:
        with self._lock:
            file = self._open.pop(name, None) or _Descriptor(self._folder / name)
            self._open[name] = file
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
        data = os.pread(file.number, size, offset)
        while 0 < len(data) < size:  # one call gives 2 GiB at most, and less where it is interrupted
            more = os.pread(file.number, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


class _Descriptor:
    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)
