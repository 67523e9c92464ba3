"""Image files of linear values: what is written is read, with any number of threads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.lightstage.bitmaps import read_bitmap, write_bitmap

ALONE = """
import sys
from pathlib import Path
import numpy as np
from datasets.lightstage.bitmaps import read_bitmap, write_bitmap
from datasets.lightstage.mitsuba_scene import set_threads
set_threads(1)
values = np.linspace(0.0, 9.0, 96, dtype=np.float32).reshape(4, 8, 3)
write_bitmap(Path(sys.argv[1]), values)
np.testing.assert_array_equal(np.array(read_bitmap(Path(sys.argv[1]))), values)
"""


def test_one_thread_is_enough(tmp_path: Path) -> None:
    """In a process of its own, because threads that wait for each other could not be stopped."""
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path / "a.exr")], check=True, timeout=60)


def test_bad_files_and_places_are_os_errors(tmp_path: Path) -> None:
    (tmp_path / "b.exr").write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"b\.exr cannot be read"):
        read_bitmap(tmp_path / "b.exr")
    with pytest.raises(OSError, match=r"c\.exr cannot be written"):
        write_bitmap(tmp_path / "absent" / "c.exr", np.zeros((4, 4, 3), np.float32))
