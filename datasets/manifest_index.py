"""Opening a ``manifest.json`` without reading what it says of members: that is the larger part, and little is needed.

A shard's line is ``{"name":…,"layout":"…","block":"…","size":"…","crc32":"…"}``: the columns of members end it, and how
many digits they have follows from what stands before them.
"""

import json
from pathlib import Path

from datasets.held_file import HeldFile
from datasets.manifest import (
    BEFORE_SHARDS,
    COLUMNS,
    MANIFEST,
    NOT_A_SHARD,
    Manifest,
    Shard,
    check_version,
    read_manifest,
)
from datasets.member_table import DIGITS, MemberDigits, MemberTable

_BEFORE = [f'{quote},"{column}":"'.encode() for quote, column in zip(("", '"', '"'), COLUMNS, strict=True)]
_NEXT, _END = b'"},\n', b'"}\n]}\n'
_CHUNK = 1 << 16  # bytes read at a time where it is not known how many there are


def open_manifest(folder: Path) -> Manifest:
    """``manifest.json`` as ``read_manifest`` gives it, its members unread and unchecked until they are asked for.

    One whose text was laid out anew, by an editor or another program, is read as a whole.

    Raises:
        VrmmError: there is none, it is of another version or it contradicts itself.
    """
    try:
        return _Lines(HeldFile(Path(folder) / MANIFEST)).manifest()
    except (OSError, *NOT_A_SHARD):
        return read_manifest(folder)  # which says what is wrong, if anything is


class _Lines:
    """Goes through the text from line to line. Methods raise OSError, or ``NOT_A_SHARD`` for another layout. Final."""

    def __init__(self, file: HeldFile) -> None:
        self._file, self._place = file, 0

    def manifest(self) -> Manifest:
        head = json.loads(self._text_before(BEFORE_SHARDS) + b"}")
        check_version(head)
        self._place += len(BEFORE_SHARDS)
        shards = [self._shard()]
        while self._file.read(self._place, len(_NEXT)) == _NEXT:
            self._place += len(_NEXT)
            shards.append(self._shard())
        if self._file.read(self._place, len(_END) + 1) != _END:
            raise ValueError("text after the last shard")
        return Manifest(capture=head["capture"], capture_sha256=head["capture_sha256"], shards=tuple(shards))

    def _shard(self) -> Shard:
        return Shard.from_record(json.loads(self._text_before(_BEFORE[0]) + b"}"), self._members)

    def _members(self, members: int) -> MemberTable:
        starts = []
        for before in _BEFORE:
            if self._file.read(self._place, len(before)) != before:
                raise ValueError("a column of another length")
            starts.append(self._place + len(before))
            self._place = starts[-1] + DIGITS * members
        return MemberDigits(self._file, starts, members)

    def _text_before(self, mark: bytes) -> bytes:
        """From here to where the mark begins, which becomes here."""
        text = self._file.read(self._place, _CHUNK)
        while (length := text.find(mark)) < 0:
            more = self._file.read(self._place + len(text), max(_CHUNK, len(text)))
            if not more:
                raise ValueError("a text without its mark")
            text += more
        self._place += length
        return text[:length]
