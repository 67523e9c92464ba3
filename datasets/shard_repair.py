"""A manifest made anew from the tars, for shards whose own was lost or is wrong.

A manifest that is made after the fact cannot tell what was written from what is there. So nothing that is known to be
damaged is listed, and the rest of what could not be known is said.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.capture import CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, sha256_of
from datasets.folder import CAPTURE, read_capture_info
from datasets.frames import LIGHT, META, frame_from_members
from datasets.manifest import MANIFEST, Manifest, Shard, manifest_bytes, read_manifest, write_manifest
from datasets.member_table import MemberArrays
from datasets.shard_build import JOURNAL, Progress
from datasets.shard_verify import Problem, missing_runs
from datasets.tar_scan import TarScan, checks_itself, is_sound, scan_tar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repair:
    """What ``repair_manifest`` did.

    Attributes:
        manifest: as written.
        kept: where the manifest of before lies now, or None where there was none or it was right.
        left_out: what is not in the manifest, although it should be or seems to have been.
        unknown: what could not be known, a sentence each.
    """

    manifest: Manifest
    kept: Path | None
    left_out: tuple[Problem, ...]
    unknown: tuple[str, ...]


def repair_manifest(folder: Path | str, progress: Progress | None = None) -> Repair:
    """Write ``manifest.json`` anew from the tars in ``folder``; the one of before is kept as ``manifest.old.json``.

    Listed are the samples that are whole and sound, as far as can be known: by the manifest of before where it can be
    read, and by the checksums that PNG and npz files hold. The tars stay as they are.

    Args:
        folder: with ``capture.json`` and tars.
        progress: called with (bytes read, bytes in all).

    Raises:
        VrmmError: no capture description, no tars, no sound sample, or a build or merge that is not finished.
    """
    folder = Path(folder)
    info, old = read_capture_info(folder), _Old.read(folder)
    tars = sorted(folder.glob("*.tar"))
    if (folder / JOURNAL).exists():
        raise VrmmError(f"{folder} holds an unfinished build ({JOURNAL}); finish it, or remove that file to go without")
    if not tars:
        raise VrmmError(f"{folder} holds no tars; there is nothing to make a manifest from")
    total, done = sum(path.stat().st_size for path in tars), 0
    rebuilding = _Rebuilding(info, old)
    for path in tars:
        rebuilding.add(path)
        done += path.stat().st_size
        if progress is not None:
            progress(done, total)
    rebuilding.finish(folder)
    if not rebuilding.shards:
        raise VrmmError(f"{folder} holds no sound sample; copy its tars again ({rebuilding.left_out[0]})")
    manifest = Manifest(capture=info.name, capture_sha256=sha256_of(folder / CAPTURE), shards=tuple(rebuilding.shards))
    kept = _replace(folder, manifest)
    unknown = [*rebuilding.unknown, *old.unknown(manifest)]
    return Repair(manifest=manifest, kept=kept, left_out=tuple(rebuilding.left_out), unknown=tuple(unknown))


def _replace(folder: Path, manifest: Manifest) -> Path | None:
    place, kept = folder / MANIFEST, None
    before = place.read_bytes() if place.exists() else None
    if before == manifest_bytes(manifest):
        return None
    if before is not None:
        names = (f"manifest.old{number}.json" for number in ("", *range(2, 1000)))
        kept = next(folder / name for name in names if not (folder / name).exists())
        atomic_write_bytes(kept, before)
    write_manifest(folder, manifest)
    return kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Old:
    """The manifest of before, as far as it can be read."""

    shards: Mapping[str, Shard]
    capture_sha256: str
    reason: str

    @staticmethod
    def read(folder: Path) -> "_Old":
        try:
            manifest = read_manifest(folder)
        except VrmmError:
            there = (folder / MANIFEST).exists()
            reason = f"{MANIFEST} was unreadable" if there else f"there was no {MANIFEST}"
            return _Old(shards={}, capture_sha256="", reason=reason)
        shards = {shard.name: shard for shard in manifest.shards}
        return _Old(shards=shards, capture_sha256=manifest.capture_sha256, reason="")

    def unknown(self, new: Manifest) -> Iterator[str]:
        if self.reason:
            yield f"{self.reason}: shards missing at the end and whole samples lost before now would leave no trace"
            yield f"{self.reason}: whether {CAPTURE} is the one that the shards were built with cannot be told"
        elif self.capture_sha256 != new.capture_sha256:
            yield f"{CAPTURE} is not the one that {MANIFEST} was written for: check its cameras and its encoding"


@dataclasses.dataclass(kw_only=True)
class _Sample:
    """A sample that is listed: its members are rows of a scan."""

    key: str
    rows: list[int]
    frame: Frame


class _Rebuilding:
    """Collects the records of all shards."""

    def __init__(self, info: CaptureInfo, old: _Old) -> None:
        self._info, self._old = info, old
        self._home: dict[str, str] = {}
        self._seen: list[str] = []
        self.shards: list[Shard] = []
        self.left_out: list[Problem] = []
        self.unknown: list[str] = []

    def add(self, path: Path) -> None:
        """Add the record of a tar, if it holds a sound sample."""
        self._seen.append(path.name)
        try:
            source = self._info.parts[self._info.part_of(path.name)]
            scan = scan_tar(path)
        except VrmmError as error:
            self.left_out.append(Problem(file=path.name, message=str(error)))
            return
        except OSError as error:
            self.left_out.append(Problem(file=path.name, message=f"cannot be read ({error.strerror})"))
            return
        if not scan.members:
            self.left_out.append(Problem(file=path.name, message="holds nothing that can be read"))
        old = self._old_record(path, scan)
        samples = []
        for key, rows in scan.samples().items():
            frame, reason = _judge(path, scan, key, rows, old)
            if frame is not None and frame.subject not in source.subjects:
                frame, reason = None, f"is of subject {frame.subject}, which {CAPTURE} lacks"
            if frame is not None:
                set_key = source.key(frame.subject, key)
                if set_key in self._home:
                    frame, reason = None, f"duplicate key, it is also in {self._home[set_key]}"
                self._home.setdefault(set_key, path.name)
            if frame is None:
                self.left_out.append(Problem(file=path.name, key=key, message=f"left out: {reason}"))
            else:
                samples.append(_Sample(key=key, rows=rows, frame=frame))
        self._lost_samples(path.name, scan, old)
        self._unsure(path.name, scan, old)
        if samples:
            numbers = {own: self._info.subjects.index(name) for own, name in source.subjects.items()}
            self.shards.append(_record(path, scan, samples, numbers))

    def finish(self, folder: Path) -> None:
        """Add what is known of tars that are not there."""
        for name, shard in self._old.shards.items():
            if name not in self._seen:
                self.left_out.append(Problem(file=name, message=f"is missing: {shard.samples} samples lost"))
        for first, count in missing_runs(self._seen):
            if first not in self._old.shards:
                more = f" with {count - 1} more after it" if count > 1 else ""
                self.left_out.append(Problem(file=first, message=f"is missing{more}, though later shards are there"))

    def _old_record(self, path: Path, scan: TarScan) -> dict[str, tuple[int, int]] | None:
        """Size and checksum of each member by the manifest of before, where it can be believed."""
        shard = self._old.shards.get(path.name)
        if shard is None or sha256_of(path) == shard.sha256:
            return None  # the tar is as written, whatever else the record says
        listed: dict[str, tuple[int, int]] = {}
        row = 0
        for key, number in zip(shard.keys, shard.layout, strict=True):
            for extension in shard.layouts[number]:
                member = shard.members.at(row)
                listed[f"{key}.{extension}"] = member.size, member.crc32
                row += 1
        content = [member for member in scan.members if member.extension not in (META, LIGHT)]  # alike in new renders
        agree = sum(listed.get(member.name) == (member.size, member.crc32) for member in content)
        if 2 * agree >= len(content):
            return listed
        self.unknown.append(f"{path.name} holds hardly anything that {MANIFEST} listed, so it was not believed")
        return None

    def _lost_samples(self, name: str, scan: TarScan, old: Mapping[str, tuple[int, int]] | None) -> None:
        there = set(scan.samples())
        for key in dict.fromkeys(member.partition(".")[0] for member in old or ()):
            if key not in there:
                self.left_out.append(Problem(file=name, key=key, message="is lost"))

    def _unsure(self, name: str, scan: TarScan, old: Mapping[str, tuple[int, int]] | None) -> None:
        as_written = name in self._old.shards and old is None
        if as_written:
            return
        for start, stop in scan.garbled:
            self.unknown.append(f"{name} has no tar header at bytes {start} to {stop}: members there are lost")
        if not scan.ended:
            self.unknown.append(f"{name} has no end: how many samples followed cannot be told")
        bare = [] if old is not None else [m.extension for m in scan.members if not checks_itself(m.extension)]
        if bare:
            kinds = ", ".join(sorted({extension.rpartition(".")[2] for extension in bare}))
            self.unknown.append(f"{name}: {len(bare)} members ({kinds}) have no checksum to tell whether they changed")


def _judge(
    path: Path, scan: TarScan, key: str, rows: Sequence[int], old: Mapping[str, tuple[int, int]] | None
) -> tuple[Frame | None, str]:
    """The frame of a sample that is whole and sound as far as can be known, or None and what is wrong."""
    members = {scan.members[row].extension: scan.members[row] for row in rows}
    if len(members) != len(rows):
        return None, "has a member twice"
    wanted = {name.partition(".")[2] for name in old or () if name.partition(".")[0] == key}
    for extension in sorted(wanted - members.keys()):
        return None, f"{extension} is lost"
    if not scan.ended and rows[-1] == len(scan.members) - 1 and not wanted:
        return None, "is the last one in a tar that was cut off"
    data = {}
    for extension, member in members.items():
        if member.crc32 is None:
            return None, f"{extension} is cut off"
        content = scan.read(path, member)
        if old is not None and member.name not in old:
            return None, f"{extension} is not in the old {MANIFEST}"
        if old is not None and old[member.name] != (member.size, member.crc32):
            return None, f"{extension} is damaged (the checksum differs)"
        if not is_sound(extension, content):
            return None, f"{extension} is damaged (its own checksum differs)"
        if extension in (META, LIGHT):
            data[extension] = content
    try:
        frame = frame_from_members(data, "it")
    except VrmmError as error:
        return None, str(error)
    return (frame, "") if frame.key == key else (None, f"{META} describes {frame.key}")


def _record(path: Path, scan: TarScan, samples: Sequence[_Sample], numbers: Mapping[str, int]) -> Shard:
    layouts: dict[tuple[str, ...], int] = {}
    rows = [[scan.members[row] for row in sample.rows] for sample in samples]
    layout = [layouts.setdefault(tuple(member.extension for member in own), len(layouts)) for own in rows]
    members = [member for own in rows for member in own]
    return Shard(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        lamps=max(len(sample.frame.light.positions) for sample in samples),
        keys=tuple(sample.key for sample in samples),
        subject=np.array([numbers[sample.frame.subject] for sample in samples], np.int64),
        held_out=np.array([sample.frame.split != "train" for sample in samples], np.int64),
        layouts=tuple(layouts),
        layout=np.array(layout, np.int64),
        members=MemberArrays(*np.array([(member.offset, member.size, member.crc32) for member in members]).T),
    )
