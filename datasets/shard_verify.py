"""Finding and naming every damage of a folder of shards."""

import contextlib
import dataclasses
import itertools
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets.capture import CaptureInfo, Frame
from datasets.errors import VrmmError
from datasets.files import sha256_of
from datasets.folder import CAPTURE, read_capture_info
from datasets.frames import LIGHT, META, frame_from_members
from datasets.manifest import MANIFEST, REPAIR, Manifest, Shard, manifest_bytes, read_manifest
from datasets.member_table import BLOCK
from datasets.sample_keys import sample_keys
from datasets.shard_build import Progress
from datasets.tar_scan import TarMember

_CHUNK = 1 << 20
_NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>[0-9]{6})\.tar")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding: ``file`` of the folder, the sample key and member extension where it is of one, and what it is."""

    file: str
    message: str
    key: str | None = None
    member: str | None = None

    def __str__(self) -> str:
        where = ", ".join(text for text in (self.key and f"sample {self.key}", self.member) if text)
        return f"{self.file}: {where + ': ' if where else ''}{self.message}"


def verify_shards(folder: Path | str, progress: Progress | None = None) -> list[Problem]:
    """Read every byte of the shards in ``folder`` and compare it with the manifest, the tar headers and the capture.

    Args:
        folder: with ``capture.json``, ``manifest.json`` and tars.
        progress: called with (bytes checked, bytes in all).

    Returns:
        Every problem, by shard; empty when all is well. A folder without manifest is a problem, not an error.
    """
    folder = Path(folder)
    info, problems = _capture_info(folder)
    try:
        manifest = read_manifest(folder)
    except VrmmError as error:
        return [*problems, Problem(file=MANIFEST, message=str(error))]
    problems += _folder_problems(folder, info, manifest)
    total, done = sum(shard.bytes for shard in manifest.shards), 0
    for shard in manifest.shards:
        problems += _ShardCheck(folder, shard, info).problems()
        done += shard.bytes
        if progress is not None:
            progress(done, total)
    return problems


def _capture_info(folder: Path) -> tuple[CaptureInfo | None, list[Problem]]:
    """The capture's description, or None and why there is none."""
    try:
        return read_capture_info(folder), []
    except VrmmError as error:
        return None, [Problem(file=CAPTURE, message=str(error))]


def _folder_problems(folder: Path, info: CaptureInfo | None, manifest: Manifest) -> Iterator[Problem]:
    if info is not None and manifest.capture != info.name:
        yield Problem(file=MANIFEST, message=f"is of capture {manifest.capture}, but {CAPTURE} is of {info.name}")
    elif info is not None and sha256_of(folder / CAPTURE) != manifest.capture_sha256:
        yield Problem(file=CAPTURE, message=f"was changed after the shards were built, or {MANIFEST} is wrong about it")
    if manifest_bytes(manifest) != (folder / MANIFEST).read_bytes():
        yield Problem(file=MANIFEST, message="was edited or damaged: it says nothing else, but in other bytes")
    listed = [shard.name for shard in manifest.shards]
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        yield Problem(file=MANIFEST, message=f"lists {name} twice")
    for path in sorted(folder.glob("*.tar")):
        if path.name not in listed:
            yield Problem(file=path.name, message=f"is not listed in {MANIFEST}")
    if info is not None:
        yield from _homeless(info, listed)
    for first, count in missing_runs(listed):
        if not (folder / first).exists():
            more = f" with {count - 1} more after it" if count > 1 else ""
            yield Problem(file=first, message=f"is missing{more}: not listed in {MANIFEST}, though later shards are")
    home: dict[str, str] = {}
    for shard in manifest.shards:
        for key in _set_keys(info, shard):
            if key in home:
                yield Problem(file=shard.name, key=key, message=f"duplicate key, it is also in {home[key]}")
            home[key] = shard.name


def _homeless(info: CaptureInfo, names: Iterable[str]) -> Iterator[Problem]:
    """Shards in a merged set that are of none of its captures."""
    for name in names:
        try:
            info.part_of(name)
        except VrmmError as error:
            yield Problem(file=name, message=str(error))


def _set_keys(info: CaptureInfo | None, shard: Shard) -> Sequence[str]:
    """The keys of the shard's samples in a merged set; those in its tar where the set cannot tell."""
    try:
        return tuple(shard.keys) if info is None else sample_keys(info, shard)
    except VrmmError:  # a wrong subject number, which the samples' own descriptions tell
        return tuple(shard.keys)


def missing_runs(names: Iterable[str]) -> list[tuple[str, int]]:
    """What ``{name}-{number:06d}.tar`` files lack below their largest number: first name and length of each gap."""
    numbers: dict[str, set[int]] = {}
    for match in filter(None, map(_NUMBERED.fullmatch, names)):
        numbers.setdefault(match["name"], set()).add(int(match["number"]))
    runs = []
    for name, there in numbers.items():
        for before, after in itertools.pairwise([-1, *sorted(there)]):
            if after - before > 1:
                runs.append((f"{name}-{before + 1:06d}.tar", after - before - 1))
    return runs


class _ShardCheck:
    """Compares one tar with its manifest record."""

    def __init__(self, folder: Path, shard: Shard, info: CaptureInfo | None) -> None:
        self._path, self._shard, self._info = folder / shard.name, shard, info
        self._keys = dict(zip(shard.keys, _set_keys(info, shard), strict=True))
        self._listed = {member.name: member for member in _listed_members(shard)}
        self._garbled: set[int] = set()  # positions of unreadable headers
        self._length = 0
        self._subjects: dict[str, int] = {}
        with contextlib.suppress(VrmmError):  # a shard of no capture is told of with the whole folder
            self._subjects = self._numbers()

    def problems(self) -> list[Problem]:
        try:
            self._length = self._path.stat().st_size
            with open(self._path, "rb") as file:
                found = list(self._walk(file.fileno()))
                problems = [*self._truncation(), *self._member_problems(file.fileno(), found)]
                problems += self._description_problems(file.fileno(), found)
                as_written = sha256_of(self._path) == self._shard.sha256
                if as_written and problems:
                    wrong = f"is wrong about {self._shard.name}, whose bytes are as written (its SHA-256 agrees)"
                    problems.append(Problem(file=MANIFEST, message=f"{wrong}; {REPAIR}"))
                elif not as_written and not problems:
                    problems += self._outside_problems(file.fileno())
        except FileNotFoundError:
            return [self._problem("is missing")]
        except OSError as error:
            return [self._problem(f"cannot be read ({error.strerror})")]
        return [
            dataclasses.replace(problem, key=self._keys.get(problem.key or "", problem.key)) for problem in problems
        ]

    def _problem(self, message: str, member: TarMember | None = None) -> Problem:
        key, extension = (member.key, member.extension) if member else (None, None)
        return Problem(file=self._shard.name, message=message, key=key, member=extension)

    def _walk(self, file: int) -> Iterator[TarMember]:
        """The members that the tar's own headers describe; past a garbled header the manifest leads on."""
        headers = sorted(member.offset - BLOCK for member in self._listed.values())
        position = 0
        while position + BLOCK <= self._length:
            try:
                header = tarfile.TarInfo.frombuf(os.pread(file, BLOCK, position), "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                later = [start for start in headers if start > position]
                if position in headers:
                    self._garbled.add(position)
                if not later:
                    return  # the end of the archive
                position = later[0]
                continue
            offset = position + BLOCK
            key, _, extension = header.name.partition(".")
            yield TarMember(key, extension, offset, header.size, _crc32(file, offset, header.size))
            position = offset + -(-header.size // BLOCK) * BLOCK

    def _truncation(self) -> Iterator[Problem]:
        if self._length >= self._shard.bytes:
            return
        lost = [member for member in self._listed.values() if member.offset + member.size > self._length]
        samples = len({member.key for member in lost})
        first = min(lost, key=lambda member: member.offset, default=None)
        message = f"truncated to {self._length} of {self._shard.bytes} bytes: "
        message += f"{len(lost)} members of {samples} samples lost"
        yield self._problem(message + (" from here on" if first else ""), first)

    def _member_problems(self, file: int, found: list[TarMember]) -> Iterator[Problem]:
        by_name: dict[str, list[TarMember]] = {}
        for member in found:
            by_name.setdefault(member.name, []).append(member)
        if found and not self._listed.keys() & by_name.keys():
            yield self._problem(f"holds none of the samples that {MANIFEST} lists, but {found[0].key} and others")
            return
        for name, members in by_name.items():
            if name not in self._listed:
                yield self._problem(f"is not listed in {MANIFEST}", members[0])
            elif len(members) > 1:
                yield self._problem("duplicate member", members[1])
        for member in self._listed.values():
            for message in self._compare(file, member, by_name.get(member.name, [])):
                yield self._problem(message, member)
        if self._length > self._shard.bytes:
            yield self._problem(f"has {self._length - self._shard.bytes} bytes more than were written")

    def _compare(self, file: int, listed: TarMember, found: list[TarMember]) -> Iterator[str]:
        if listed.offset + listed.size > self._length:
            return  # counted by _truncation
        if listed.offset - BLOCK in self._garbled:
            yield "its tar header is damaged; readers of the plain tar lose it"
            if _crc32(file, listed.offset, listed.size) != listed.crc32:
                yield "its data are damaged (the checksum differs)"
        elif not found:
            yield f"missing member, {MANIFEST} lists it"
        elif (found[0].size, found[0].crc32) != (listed.size, listed.crc32):
            yield "damaged (the checksum differs)"
        elif found[0].offset != listed.offset:
            yield f"lies at byte {found[0].offset}, but {MANIFEST} says {listed.offset}"

    def _outside_problems(self, file: int) -> Iterator[Problem]:
        """Where a tar of sound members differs from what was written."""
        end, named = 0, False
        for member in sorted(self._listed.values(), key=lambda member: member.offset):
            data_end = member.offset + member.size
            end = member.offset + -(-member.size // BLOCK) * BLOCK
            header = os.pread(file, BLOCK, member.offset - BLOCK)
            if tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").tobuf(tarfile.USTAR_FORMAT) != header:
                yield self._problem("its tar header differs from what was written; nothing is lost", member)
                named = True
            if any(os.pread(file, end - data_end, data_end)):
                yield self._problem("the padding after it is damaged; nothing is lost", member)
                named = True
        if any(os.pread(file, self._length - end, end)):
            yield self._problem("the end of the archive is damaged; nothing is lost")
        elif not named:
            yield Problem(file=MANIFEST, message=f"has a wrong SHA-256 of {self._shard.name}, which is sound; {REPAIR}")

    def _description_problems(self, file: int, found: list[TarMember]) -> Iterator[Problem]:
        """Samples whose own description contradicts the manifest."""
        shard = self._shard
        intact = {m.name: m for m in found if (listed := self._listed.get(m.name)) and listed.crc32 == m.crc32}
        lamps: list[int] = []
        for key, subject, held_out, number in zip(shard.keys, shard.subject, shard.held_out, shard.layout, strict=True):
            absent = [member for member in (META, LIGHT) if member not in shard.layouts[number]]
            for member in absent:
                yield Problem(file=shard.name, key=key, member=member, message="missing member")
            parts = [intact.get(f"{key}.{member}") for member in (META, LIGHT)]
            if not absent and all(parts):
                data = {part.extension: os.pread(file, part.size, part.offset) for part in parts if part}
                try:
                    frame = frame_from_members(data, f"sample {key}")
                except VrmmError as error:
                    yield Problem(file=shard.name, key=key, member=META, message=str(error))
                    continue
                lamps.append(len(frame.light.positions))
                for message in self._contradictions(frame, key, int(subject), int(held_out)):
                    yield Problem(file=shard.name, key=key, member=META, message=message)
        if len(lamps) == shard.samples and max(lamps, default=0) < shard.lamps:
            yield self._problem(f"has {max(lamps, default=0)} lamps at most, but {MANIFEST} says {shard.lamps}")

    def _numbers(self) -> dict[str, int]:
        """Subject in this shard → its number in the set. Raises VrmmError for a shard of no capture in a merged set."""
        if self._info is None:
            return {}
        names = self._info.parts[self._info.part_of(self._shard.name)].subjects
        return {own: self._info.subjects.index(name) for own, name in names.items()}

    def _contradictions(self, frame: Frame, key: str, subject: int, held_out: int) -> Iterator[str]:
        if frame.key != key:
            yield f"describes frame {frame.key}"
        if self._subjects and self._subjects.get(frame.subject) != subject:
            yield f"is of subject {frame.subject}, but {MANIFEST} says number {subject}"
        if held_out != int(frame.split != "train"):
            yield f"is of split {frame.split}, but {MANIFEST} says held_out {held_out}"
        if len(frame.light.positions) > self._shard.lamps:
            yield f"has {len(frame.light.positions)} lamps, but {MANIFEST} says {self._shard.lamps} at most"


def _listed_members(shard: Shard) -> Iterator[TarMember]:
    row = 0
    for key, number in zip(shard.keys, shard.layout, strict=True):
        for extension in shard.layouts[number]:
            yield TarMember(key, extension, *shard.members.at(row))
            row += 1


def _crc32(file: int, offset: int, size: int) -> int | None:
    """The checksum of a range of a file, or None where the file ends within it."""
    value = 0
    for start in range(offset, offset + size, _CHUNK):
        data = os.pread(file, min(_CHUNK, offset + size - start), start)
        if len(data) < min(_CHUNK, offset + size - start):
            return None
        value = zlib.crc32(data, value)
    return value
