"""Probes in processes of their own, and other programs asked for what they know."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.probes import PREFIX

TIMEOUT_SECONDS = 120
ROOT = Path(__file__).resolve().parent.parent.parent


def answer(command: Sequence[str]) -> tuple[str, bool]:
    """What a probe found and True, or why it failed and False."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_SECONDS} s", False
    lines = [line.removeprefix(PREFIX) for line in done.stdout.splitlines() if line.startswith(PREFIX)]
    if done.returncode == 0 and lines:
        return lines[-1], True
    return last_line(done.stderr) or f"died with status {done.returncode}", False


def ask(command: Sequence[str]) -> tuple[list[str], str]:
    """The lines that a program prints and an empty text, or no lines and why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    if done.returncode != 0:
        return [], first_line(done.stderr) or first_line(done.stdout) or f"exit status {done.returncode}"
    return [line.strip() for line in done.stdout.splitlines() if line.strip()], ""


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
