"""The keys of a shard's samples as ``manifest.json`` has them, read when they are asked for.

A step of training needs a handful of a million.
"""

import json
from collections.abc import Iterator

from datasets.errors import VrmmError
from datasets.held_file import HeldFile
from datasets.member_table import WAY_OUT


class KeyColumn:
    """Keys in a manifest. Every look reads all of them. Final.

    Args:
        file: the manifest.
        start, size: where the text of the column lies, bytes.
        count: keys.

    Raises:
        VrmmError: when a key is asked for and the manifest has no such keys there.
    """

    def __init__(self, file: HeldFile, start: int, size: int, count: int) -> None:
        self.start, self._size, self._file, self._count = start, size, file, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        return self._read()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def _read(self) -> list[str]:
        try:
            text = json.loads(b'"' + self._file.read(self.start, self._size) + b'"')
        except (OSError, ValueError) as error:
            raise VrmmError(f"{self._file.path} cannot be read or is damaged ({error}); {WAY_OUT}") from error
        keys = text.split(" ") if text else []
        if len(keys) != self._count:
            raise VrmmError(f"{self._file.path} lists {len(keys)} keys of {self._count} samples; {WAY_OUT}")
        return keys
