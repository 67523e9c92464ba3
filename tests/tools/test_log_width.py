"""Output that no terminal shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = "a/run/with/a/long/name/" + "x" * 100
SCRIPT = f"from tools.console import console; console.print({PATH!r} + ' is written')"


@pytest.mark.parametrize(("columns", "lines"), [(None, 1), ("60", 3)])
def test_log_files_keep_paths_in_one_piece_unless_told_otherwise(columns: str | None, lines: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = columns
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert len(found.stdout.splitlines()) == lines, found.stdout + found.stderr
