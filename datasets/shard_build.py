"""Writing a capture as WebDataset tars, resumable after a kill at any moment."""

import contextlib
import fcntl
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from datasets.capture import Capture, CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.files import atomic_write, read_json, sha256_of
from datasets.folder import CAPTURE, write_capture_info
from datasets.frames import frame_members
from datasets.manifest import MANIFEST, NOT_A_SHARD, Manifest, Shard, manifest_bytes, read_manifest, write_manifest
from datasets.member_table import BLOCK, MemberArrays

Progress = Callable[[int, int], object]

JOURNAL = ".build.jsonl"
_NAME_LIMIT = 100  # bytes of a member's name in a ustar header
_CAMERA_MEMBER = re.compile(r"(?P<camera>[^.]+)\.(rgb|mask)\.[^.]+")


def build_shards(
    capture: Capture, out: Path | str, *, samples_per_shard: int = 64, progress: Progress | None = None
) -> Manifest:
    """Write ``capture`` to ``out`` as ``{capture}-{000000..}.tar``, ``capture.json`` and ``manifest.json``.

    Equal captures give equal bytes. A shard is whole or absent; a second call after a kill keeps the finished
    shards, and does nothing where all are finished.

    Args:
        capture: the frames, written in its order.
        out: a folder, made if absent.
        samples_per_shard: frames in a tar.
        progress: called with (frames done, frames in all).

    Raises:
        VrmmError: names that a shard cannot hold, two frames of one key, a full disk, another build at work in
            ``out``, or ``out`` holding shards of another capture or size.
    """
    out, frames = Path(out), capture.frames()
    if samples_per_shard < 1:
        raise VrmmError(f"samples_per_shard is {samples_per_shard}; it must be at least 1")
    _check_frames(capture.info, frames)
    out.mkdir(parents=True, exist_ok=True)
    with folder_journal(out) as (journal, finished):
        _claim_folder(out, capture.info)
        shards = []
        for start in range(0, len(frames), samples_per_shard):
            part = frames[start : start + samples_per_shard]
            name = f"{capture.info.name}-{start // samples_per_shard:06d}.tar"
            if name in finished:
                _check_kept(out, finished[name], part)
            else:
                finished[name] = _write_shard(capture, part, out / name)
                journal.write(json.dumps(finished[name].to_json()).encode() + b"\n")
                journal.flush()
            shards.append(finished[name])
            if progress is not None:
                progress(min(start + samples_per_shard, len(frames)), len(frames))
        if len(shards) != len(finished):
            raise _other_build(out)
        digest = sha256_of(out / CAPTURE)
        manifest = Manifest(capture=capture.info.name, capture_sha256=digest, shards=tuple(shards))
        place = out / MANIFEST
        if not place.exists() or place.read_bytes() != manifest_bytes(manifest):  # a repair may have left shards out
            write_manifest(out, manifest)
        return manifest


@contextlib.contextmanager
def folder_journal(out: Path) -> Iterator[tuple[IO[bytes], dict[str, Shard]]]:
    """The list of finished shards beside them, locked, and what it says; removed once a manifest is there."""
    path = out / JOURNAL
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VrmmError(f"another build is writing to {out}; wait for it or choose another folder") from None
        except OSError:
            pass  # a file system without locks
        try:
            yield file, _finished(out, path)
        finally:
            if (out / MANIFEST).exists() or path.stat().st_size == 0:
                path.unlink()


def _finished(out: Path, journal: Path) -> dict[str, Shard]:
    if (out / MANIFEST).exists():
        shards = list(read_manifest(out).shards)
    else:
        shards = [shard for line in journal.read_bytes().splitlines() for shard in _read_line(line)]
    return {shard.name: shard for shard in shards if _has_size(out / shard.name, shard.bytes)}


def _read_line(line: bytes) -> Iterator[Shard]:
    with contextlib.suppress(*NOT_A_SHARD):  # torn by a kill: built again
        yield Shard.from_json(json.loads(line))


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _claim_folder(out: Path, info: CaptureInfo) -> None:
    """Sweep what killed writers left; refuse shards of another capture; write ``capture.json``."""
    for pattern in (f".{info.name}-*.tar.*.tmp", f".{MANIFEST}.*.tmp", f".{CAPTURE}.*.tmp"):
        for leftover in out.glob(pattern):
            leftover.unlink(missing_ok=True)
    place = out / CAPTURE
    if not place.exists():
        if any(out.glob("*.tar")):
            raise _other_build(out)
        write_capture_info(out, info)
    elif read_json(place, "a capture description") != json.loads(json.dumps(info.to_json())):
        raise _other_build(out)


def _other_build(out: Path) -> VrmmError:
    return VrmmError(f"{out} holds shards of another capture or shard size; remove them or choose another folder")


def _check_frames(info: CaptureInfo, frames: Sequence[Frame]) -> None:
    if not frames:
        raise VrmmError(f"capture {info.name} has no frames; there is nothing to build")
    seen: set[str] = set()
    subjects = set(info.subjects)
    for frame in frames:
        if frame.key in seen:
            raise VrmmError(f"capture {info.name} has two frames of key {frame.key}; rename a subject or sequence")
        if frame.subject not in subjects:
            raise VrmmError(f"frame {frame.key} is of a subject that capture {info.name} does not list")
        seen.add(frame.key)
    for subject in info.subjects:
        if subject not in info.subject_splits:
            raise VrmmError(f"capture {info.name} does not say whether subject {subject} is for training or held out")


def _check_kept(out: Path, shard: Shard, frames: Sequence[Frame]) -> None:
    """A finished shard is kept only when it holds these very frames."""
    if list(shard.keys) != [frame.key for frame in frames]:
        raise _other_build(out)
    for first, layout, frame in zip(shard.first, shard.layout, frames, strict=True):
        for member, data in frame_members(frame).items():
            if shard.members.at(int(first) + shard.layouts[layout].index(member)).crc32 != zlib.crc32(data):
                raise VrmmError(f"{out / shard.name}: frame {frame.key} has changed since; remove the old shards first")


def _write_shard(capture: Capture, frames: Sequence[Frame], path: Path) -> Shard:
    table = _Table(capture.info, path.name)
    hashed = _Hashed()

    def write(file: IO[bytes]) -> None:
        from webdataset.writer import TarWriter

        hashed.file = file
        stream = cast(Any, hashed)  # it needs no more than write
        with TarWriter(stream, encoder=False, mtime=0, user="vrmm", group="vrmm", compress=False) as tar:
            for frame in frames:
                members = {**capture.members(frame), **frame_members(frame)}
                table.add(frame, members)
                tar.write({"__key__": frame.key, **members})

    atomic_write(path, write)
    return table.shard(hashed)


class _Hashed:
    """A file object that counts and hashes what is written through it."""

    def __init__(self) -> None:
        self.file: IO[bytes] | None = None
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        assert self.file is not None
        self.sha256.update(data)
        self.bytes += len(data)
        return self.file.write(data)


class _Table:
    """Collects a shard's manifest record while its members are written."""

    def __init__(self, info: CaptureInfo, name: str) -> None:
        self._name = name
        self._numbers = {subject: i for i, subject in enumerate(info.subjects)}
        self._cameras = {camera.name for camera in info.cameras}
        self._layouts: dict[tuple[str, ...], int] = {}
        self._samples: list[tuple[str, int, int, int]] = []
        self._members: list[tuple[int, int, int]] = []
        self._position = 0
        self._lamps = 0

    def add(self, frame: Frame, members: Mapping[str, bytes]) -> None:
        layout = tuple(sorted(members))  # the order in which TarWriter writes
        self._check(frame.key, layout)
        number = self._layouts.setdefault(layout, len(self._layouts))
        self._samples.append((frame.key, self._numbers[frame.subject], int(frame.split != "train"), number))
        self._lamps = max(self._lamps, len(frame.light.positions))
        for extension in layout:
            size = len(members[extension])
            offset = self._position + BLOCK  # a ustar header is one block, data are padded to whole blocks
            self._members.append((offset, size, zlib.crc32(members[extension])))
            self._position = offset + -(-size // BLOCK) * BLOCK

    def shard(self, written: _Hashed) -> Shard:
        keys, subject, held_out, layout = zip(*self._samples, strict=True)
        offset, size, crc32 = zip(*self._members, strict=True)
        return Shard(
            name=self._name,
            bytes=written.bytes,
            sha256=written.sha256.hexdigest(),
            lamps=self._lamps,
            keys=keys,
            subject=np.array(subject, np.int64),
            held_out=np.array(held_out, np.int64),
            layouts=tuple(self._layouts),
            layout=np.array(layout, np.int64),
            members=MemberArrays(np.array(offset), np.array(size), np.array(crc32)),
        )

    def _check(self, key: str, layout: tuple[str, ...]) -> None:
        if len({extension.lower() for extension in layout}) != len(layout):
            raise VrmmError(f"frame {key} has members that differ only in case; WebDataset cannot tell them apart")
        for extension in layout:
            name = f"{key}.{extension}"  # other names have tar headers of several blocks
            if extension.startswith(("_", ".")) or "/" in name or not name.isascii() or len(name) > _NAME_LIMIT:
                raise VrmmError(
                    f"{name} cannot be a tar member: {_NAME_LIMIT} ASCII characters at most, no slash, and no "
                    "underscore or dot at the start of the extension"
                )
            match = _CAMERA_MEMBER.fullmatch(extension)
            if match and match["camera"] not in self._cameras:
                raise VrmmError(f"frame {key} has an image of camera {match['camera']}, which the capture lacks")
