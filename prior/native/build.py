"""Compile C++ kernels on first use, once for each machine type, source and compiler.

The library lives in ``$VRMM_CACHE``, else ``$XDG_CACHE_HOME/vrmm``, else ``~/.cache/vrmm``. Its name is a hash of
everything that went into it; a checksum beside it tells a damaged file from a whole one before it is loaded.
"""

import ctypes
import fcntl
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, sha256_of

_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-w")


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    if chosen := os.environ.get("VRMM_CACHE"):
        return Path(chosen) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vrmm" / "kernels"


def load_library(source: Path) -> ctypes.CDLL:
    """The kernel compiled from ``source``, from the cache or built now (a few seconds).

    Headers (``*.h``) beside the source belong to it.

    Raises:
        VrmmError: there is no working C++ compiler, or the cache folder cannot be written.
    """
    command = shlex.split(os.environ.get("CXX") or "g++")
    library = cache_folder() / f"{source.stem}-{_key(source, command)}.so"
    if not _is_whole(library):
        _make_folder(library.parent)
        with _lock(library.with_suffix(".lock")):
            if not _is_whole(library):
                _compile(command, source, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise VrmmError(f"{library} cannot be loaded ({error}); delete it and run again") from error


def _key(source: Path, command: list[str]) -> str:
    digest = hashlib.sha256()
    for text_file in (source, *sorted(source.parent.glob("*.h"))):
        digest.update(text_file.read_bytes())
    for text in (*command, *_FLAGS, _version(command), _processor()):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:20]


def _version(command: list[str]) -> str:
    return _run([*command, "--version"], command[0])


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    names = ("model name", "flags", "Features", "CPU part")
    first = {line.split(":")[0].strip(): line for line in reversed(lines) if ":" in line}
    return "\n".join([platform.machine(), *(first[name] for name in names if name in first)])


def _run(arguments: list[str], compiler: str) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except OSError as error:
        raise VrmmError(
            f"the C++ compiler {compiler!r} does not run ({error.strerror}); "
            f"install one (apt install g++, conda install gxx) or name it in CXX"
        ) from error
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise VrmmError(f"the C++ compiler {compiler!r} failed ({reason}); name another one in CXX, g++ 9 or newer")
    return done.stdout


def _compile(command: list[str], source: Path, library: Path) -> None:
    """Build beside ``library`` and rename into place; the checksum comes last and makes it whole."""
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
        built = Path(folder) / library.name
        _run([*command, *_FLAGS, str(source), "-o", str(built)], command[0])
        checksum = sha256_of(built)
        os.replace(built, library)
    atomic_write_bytes(_checksum_of(library), checksum.encode())


def _checksum_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _is_whole(library: Path) -> bool:
    try:
        return _checksum_of(library).read_text() == sha256_of(library)
    except (OSError, ValueError):
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VrmmError(
            f"cannot create {folder} ({error.strerror}); choose another cache folder in VRMM_CACHE"
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time among the processes that share the cache."""
    try:
        file = open(path, "w")  # noqa: SIM115
    except OSError as error:
        raise VrmmError(f"cannot write {path} ({error.strerror}); choose another cache folder in VRMM_CACHE") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
