"""Readers by the name of their format, imported only when one is used."""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

from datasets.config import load_config
from datasets.errors import VrmmError
from datasets.readers.formats import READERS
from datasets.readers.reader import CaptureReader, Selection


def reader_class(name: str) -> type[CaptureReader]:
    """The reader of a format. Raises VrmmError for an unknown name, with the nearest known one."""
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise VrmmError(f"unknown capture format {name!r}; {hint}known are {', '.join(READERS)}")
    module, _, attribute = READERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def find_captures(name: str, source: Path | str, subjects: Sequence[str] = ()) -> dict[str, Path]:
    """The captures of a format at or below ``source``, by subject.

    Args:
        name: of the format.
        source: a folder or file.
        subjects: the wanted ones; empty for all.

    Raises:
        VrmmError: an unknown format, no such folder, nothing of the format there, or a subject that is not there.
    """
    reader, source = reader_class(name), Path(source)
    if not source.exists():
        raise VrmmError(f"{source} does not exist; name the folder of a {name} capture")
    found = reader.captures_under(source)
    if not found:
        raise VrmmError(f"{source} holds no {name} capture; docs/captures.md shows how one lies on disk")
    for subject in subjects:
        if subject not in found:
            raise VrmmError(f"{source} has no subject {subject}; it has {', '.join(found)}")
    return {subject: place for subject, place in found.items() if not subjects or subject in subjects}


def open_reader(
    name: str, source: Path | str, selection: Selection | None = None, overrides: Sequence[str] = ()
) -> CaptureReader:
    """Open one capture, as ``find_captures`` gives it.

    Args:
        name: of the format.
        source: the capture's folder or file.
        selection: cameras and frames; None for all.
        overrides: ``key=value`` settings of the reader's ``OPTIONS``.

    Raises:
        VrmmError: as the reader's constructor; an unknown setting.
    """
    reader = reader_class(name)
    return reader(Path(source), selection or Selection(), load_config(reader.OPTIONS, None, overrides))
