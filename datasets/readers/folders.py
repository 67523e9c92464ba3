"""Files of a data set that lie in folders, by the number in their names."""

import re
from pathlib import Path

PICTURES = ("avif", "png", "jpg", "jpeg")


def numbered_files(folder: Path, stem: str, extensions: tuple[str, ...] = PICTURES) -> dict[int, Path]:
    """Number → file, of those in a folder whose name is ``stem`` around a number and one of the extensions.

    Args:
        folder: an absent one holds none.
        stem: for example ``"frame_{}"``; the braces stand for digits.
        extensions: without dot; where one number has several files, the first of these wins.
    """
    before, after = (re.escape(part) for part in stem.split("{}"))
    name = re.compile(rf"{before}(\d+){after}\.({'|'.join(extensions)})")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = name.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number not in found or _rank(path, extensions) < _rank(found[number], extensions):
            found[number] = path
    return found


def extension_of(path: Path) -> str:
    """Of a picture, as a member's name has it."""
    suffix = path.suffix.removeprefix(".").lower()
    return "jpg" if suffix == "jpeg" else suffix


def _rank(path: Path, extensions: tuple[str, ...]) -> int:
    return extensions.index(path.suffix.removeprefix("."))
