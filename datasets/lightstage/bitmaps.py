"""Image files of linear values, read and written by Mitsuba."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from datasets.lightstage.mitsuba_scene import mitsuba, set_threads


def write_bitmap(path: Path, pixels: Float[np.ndarray, "H W C"]) -> None:
    """Linear values to the format that the file's name says, such as ``.exr`` (32-bit floats). Raises OSError."""
    bitmap = mitsuba().Bitmap(np.ascontiguousarray(pixels, np.float32))
    try:
        with _two_threads():
            bitmap.write(str(path))
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def read_bitmap(path: Path) -> Any:
    """A ``mitsuba.Bitmap`` with the values of the file. Raises OSError where they cannot be read."""
    try:
        with _two_threads():
            return mitsuba().Bitmap(str(path))
    except RuntimeError as error:
        raise OSError(f"{path} cannot be read: {error}") from error


@contextlib.contextmanager
def _two_threads() -> Iterator[None]:
    """Mitsuba's OpenEXR shares the renderer's threads, and waits forever where there is none but the caller's."""
    import drjit

    before = drjit.thread_count()
    set_threads(max(before, 2))
    try:
        yield
    finally:
        set_threads(before)
