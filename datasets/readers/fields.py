"""Values out of the JSON and text files of others: present, of the right shape, and finite, or one clear error."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import VrmmError
from datasets.files import read_json


class Fields:
    """A part of a JSON document that knows where it came from. Final.

    Args:
        value: what JSON gave.
        origin: file and key path, for errors.
    """

    def __init__(self, value: Any, origin: str) -> None:
        self.value, self.origin = value, origin

    @staticmethod
    def of_file(path: Path, what: str) -> "Fields":
        """Raises VrmmError where the file is missing or no JSON; ``what`` says what was expected there."""
        return Fields(read_json(path, what), str(path))

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def __getitem__(self, key: str) -> "Fields":
        """Raises VrmmError where the key is missing."""
        if key not in self:
            raise VrmmError(f"{self.origin} lacks the key {key!r}; is the download complete?")
        return Fields(self.value[key], f"{self.origin}: {key}")

    def items(self) -> list[tuple[str, "Fields"]]:
        """The entries of an object, in the file's order."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return [(key, self[key]) for key in self.value]

    def entries(self) -> list["Fields"]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Fields(entry, f"{self.origin}[{i}]") for i, entry in enumerate(self.value)]

    def text(self) -> str:
        """A string; a number counts as one, because some files write names so."""
        if not isinstance(self.value, str | int) or isinstance(self.value, bool):
            raise self.wrong("a name")
        return str(self.value)

    def integer(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong("a whole number")
        return self.value

    def number(self) -> float:
        return float(self.array(()))

    def array(self, *shapes: tuple[int | None, ...]) -> np.ndarray:
        """float64 numbers of one of the given shapes; None stands for any length. Never NaN or infinite."""
        return finite_array(self.value, self.origin, *shapes)

    def wrong(self, expected: str) -> VrmmError:
        """The error that this is not what it should be."""
        return VrmmError(f"{self.origin} is {_brief(self.value)} where {expected} belongs; is the file damaged?")


def read_text(path: Path, what: str) -> str:
    """A text file of UTF-8. Raises VrmmError where it is missing or no text; ``what`` was expected there."""
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        raise VrmmError(f"{path} does not exist; expected {what} there") from None
    except (OSError, ValueError) as error:
        raise VrmmError(f"{path} is not {what}: {error}") from error


def read_table(path: Path, what: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The named columns of a CSV file with a heading, row by row, without blanks around the values.

    Raises:
        VrmmError: no such file, no such column, or a row that is too short.
    """
    rows = [row for row in csv.reader(read_text(path, what).splitlines()) if row]
    heading = [name.strip() for name in rows[0]] if rows else []
    for name in columns:
        if name not in heading:
            raise VrmmError(f"{path} has no column {name!r}; its heading is {', '.join(heading) or 'absent'}")
    places = [heading.index(name) for name in columns]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) <= max(places):
            raise VrmmError(f"{path}: row {number} has {len(row)} of {len(heading)} values; is the download complete?")
    return [tuple(row[place].strip() for place in places) for row in rows[1:]]


def frame_number(text: str, origin: str) -> int:
    """A frame's number out of a file's name or table. Raises VrmmError for anything else."""
    if not text.isascii() or not text.isdigit():
        raise VrmmError(f"{origin}: {text!r} is no frame number; is the file damaged?")
    return int(text)


def finite_array(value: Any, origin: str, *shapes: tuple[int | None, ...]) -> np.ndarray:
    """``value`` as float64 of one of the given shapes (None: any length).

    Raises:
        VrmmError: another shape, something that is no number, NaN or infinity; it names ``origin``.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or not any(_fits(array.shape, shape) for shape in shapes):
        expected = " or ".join("x".join("N" if n is None else str(n) for n in shape) or "one" for shape in shapes)
        raise VrmmError(f"{origin} is {_brief(value)} where {expected} numbers belong; is the file damaged?")
    if not np.isfinite(array).all():
        raise VrmmError(f"{origin} holds NaN or infinity; mend the calibration or leave this part out")
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or n == w for n, w in zip(shape, wanted, strict=True))


def _brief(value: Any) -> str:
    text = " ".join(repr(value).split())  # arrays would take several lines
    return text if len(text) <= 40 else f"{text[:37]}..."
