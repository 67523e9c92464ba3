"""Reading shards: any member of any sample by its key, checked on the way.

``build_shards`` writes them (``datasets.shard_build``), ``verify_shards`` finds all damage
(``datasets.shard_verify``), ``open_shards`` reads.
"""

import os
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
from datasets.manifest import Manifest, read_manifest
from datasets.shard_build import build_shards
from datasets.shard_verify import Problem, verify_shards

__all__ = ["DamageError", "Problem", "ShardSet", "build_shards", "open_shards", "verify_shards"]

_OPEN_FILES = 64


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
        lamps: the largest number of lamps in one frame.
        lit: [N] some frame of the sample's shard says how it is lit; False for captures of unknown light.
        shard: [N] number of the shard that holds the sample.
        layout: [N] number of the sample's list of members.
        images: per layout, the member of each camera that has an image, for example ``{"front": "front.rgb.png"}``.
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
        self.lit = np.array([shard.lamps > 0 for shard in shards], bool)[self.shard]
        # Fixed-width bytes are several times smaller than a list of strings, and sort in C.
        self._keys = np.array([key.encode() for shard in shards for key in shard.keys], np.bytes_)
        self._by_key = np.argsort(self._keys, kind="stable")
        self._offset = _join([shard.offset for shard in shards])
        self._size = _join([shard.size for shard in shards])
        self._crc32 = _join([shard.crc32 for shard in shards])
        self._layouts, self.layout = _merge_layouts(manifest)
        lengths = np.array([len(layout) for layout in self._layouts], np.int64)[self.layout]
        self._first = np.cumsum(lengths) - lengths
        self._column = [{extension: i for i, extension in enumerate(layout)} for layout in self._layouts]
        self.images = [_image_members(layout) for layout in self._layouts]
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
            frame = frame_from_members(members, "it")
        except VrmmError as error:
            raise self.damage(sample, META, f"is no description of a frame: {error}") from error
        if frame.key != self.key(sample):
            raise self.damage(sample, META, f"describes {frame.key}: the manifest is of other shards")
        return frame

    def damage(self, sample: int, extension: str, reason: str) -> DamageError:
        """The error that names this member as damaged."""
        shard = self._names[self.shard[sample]]
        return DamageError(self.folder, shard, self.key(sample), extension, reason)


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays]) if not arrays else np.concatenate(arrays)


def _merge_layouts(manifest: Manifest) -> tuple[list[tuple[str, ...]], Int[np.ndarray, "N"]]:
    """The distinct layouts of all shards, and each sample's number among them."""
    numbers: dict[tuple[str, ...], int] = {}
    parts = []
    for shard in manifest.shards:
        local = [numbers.setdefault(layout, len(numbers)) for layout in shard.layouts]
        parts.append(np.array(local, np.int64)[shard.layout])
    return list(numbers), _join(parts)


def _image_members(layout: tuple[str, ...]) -> dict[str, str]:
    parts = ((extension.split("."), extension) for extension in layout)
    return {names[0]: extension for names, extension in parts if len(names) == 3 and names[1] == "rgb"}


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
