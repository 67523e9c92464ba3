"""Opening a ``manifest.json`` without reading its keys and what it says of members: most of it, and seldom needed.

A shard's line is ``{"name":…,"key_bytes":…,"subject":"…","held_out":"…","layout":"…","keys":"…","block":"…","size":"…",
"crc32":"…"}``: columns end it, and how long they are stands before them.
"""

import json
from pathlib import Path

from datasets.held_file import HeldFile
from datasets.key_column import KeyColumn
from datasets.manifest import (
    BEFORE_SHARDS,
    KEYS,
    MANIFEST,
    MEMBER_COLUMNS,
    NOT_A_SHARD,
    SAMPLE_COLUMNS,
    Manifest,
    Shard,
    check_version,
    read_manifest,
)
from datasets.member_table import DIGITS, MemberDigits

_FIRST, *_OTHERS = (*SAMPLE_COLUMNS, KEYS, *MEMBER_COLUMNS)
_BEFORE = {_FIRST: f',"{_FIRST}":"'.encode()} | {column: f'","{column}":"'.encode() for column in _OTHERS}
_NEXT, _END = b'"},\n', b'"}\n]}\n'
_CHUNK = 1 << 12  # bytes read at a time where it is not known how many there are


def open_manifest(folder: Path) -> Manifest:
    """``manifest.json`` as ``read_manifest`` gives it, keys and members unread and unchecked until they are asked for.

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
        record = json.loads(self._text_before(_BEFORE[_FIRST]) + b"}")
        samples, members, key_bytes = (int(record[count]) for count in ("samples", "members", "key_bytes"))
        for column in SAMPLE_COLUMNS:
            start = self._column(column, DIGITS * samples)
            record[column] = self._file.read(start, DIGITS * samples).decode("ascii")
        keys = KeyColumn(self._file, self._column(KEYS, key_bytes), key_bytes, samples)
        starts = [self._column(column, DIGITS * members) for column in MEMBER_COLUMNS]
        return Shard.from_record(record, keys, MemberDigits(self._file, starts, members))

    def _column(self, name: str, length: int) -> int:
        """Goes past a column of so many bytes. Returns where they begin."""
        start = self._place + len(_BEFORE[name])
        if length < 0 or self._file.read(self._place, start - self._place) != _BEFORE[name]:
            raise ValueError("a column of another length")
        self._place = start + length
        return start

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
