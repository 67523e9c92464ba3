"""Names of people, cameras and sequences that a sample key can hold."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from datasets.errors import VrmmError

_UNFIT = re.compile(r"[^0-9A-Za-z_+-]+")


def key_name(text: str) -> str:
    """``text`` with whatever a key cannot hold as hyphens.

    Raises:
        VrmmError: nothing is left of it.
    """
    name = _UNFIT.sub("-", text).strip("-")
    if not name:
        raise VrmmError(f"{text!r} cannot be part of a sample key; rename it to letters and digits")
    return name


def by_subject(places: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Subject → place, sorted by name; a subject that was captured twice gets the folder's whole name.

    Raises:
        VrmmError: two folders that cannot be told apart.
    """
    places = list(places)
    names = [key_name(subject) for subject, _ in places]
    found: dict[str, Path] = {}
    for name, (_, place) in zip(names, places, strict=True):
        own = name if names.count(name) == 1 else key_name(place.stem)
        if own in found:
            raise VrmmError(f"{found[own]} and {place} are both of subject {own}; rename one of them")
        found[own] = place
    return dict(sorted(found.items()))


def subfolders(source: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are none."""
    if not source.is_dir():
        return []
    return sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))


def captures_at(source: Path, is_capture: Callable[[Path], bool]) -> list[Path]:
    """``source`` itself where it is a capture, else those of its folders that are."""
    return [source] if is_capture(source) else [path for path in subfolders(source) if is_capture(path)]
