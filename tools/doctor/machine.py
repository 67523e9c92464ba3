"""Python, the compiler, disks and memory."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.doctor.finding import Finding, Status
from tools.doctor.trial import TIMEOUT_SECONDS, first_line
from tools.probes import shadowing_package

GIB = 2**30


def check_python() -> Finding:
    """Which Python, and whether it is an environment of its own. The installation refuses a Python that is too old."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.prefix == sys.base_prefix:
        return Finding(
            name="Python",
            status=Status.WARNING,
            detail=f"{version}, no virtual environment",
            remedy="other projects may change its libraries: make setup makes an environment of its own",
        )
    return Finding(name="Python", status=Status.OK, detail=f"{version} in {sys.prefix}")


def check_datasets_package() -> Finding:
    """``import datasets`` must find ours; a popular library has the same name."""
    found = shadowing_package()
    if found is None:
        return Finding(name="datasets package", status=Status.OK, detail="the one of vrmm")
    return Finding(
        name="datasets package",
        status=Status.PROBLEM,
        detail=f"hidden by {found}",
        remedy="pip uninstall datasets, or install vrmm in an environment of its own",
    )


def check_compiler() -> Finding:
    """A C++ compiler that builds and runs a small OpenMP program."""
    command = shlex.split(os.environ.get("CXX") or "g++")
    slow = "without it rendering uses a slow fallback"
    if shutil.which(command[0]) is None:
        return Finding(
            name="C++ compiler",
            status=Status.WARNING,
            detail=f"no {command[0]} here; {slow}",
            remedy="apt-get install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), or name one in CXX",
        )
    error = _compile_and_run(command)
    if error:
        return Finding(
            name="C++ compiler",
            status=Status.WARNING,
            detail=f"{command[0]}: {error}; {slow}",
            remedy="install OpenMP for this compiler (libomp), or name another one: CXX=g++ vrmm …",
        )
    return Finding(name="C++ compiler", status=Status.OK, detail=f"{shutil.which(command[0])} with OpenMP")


def _compile_and_run(compiler: Sequence[str]) -> str:
    """The first line of what went wrong, or nothing."""
    program = '#include <omp.h>\n#include <cstdio>\nint main() { std::printf("%d", omp_get_max_threads()); }\n'
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "probe.cpp"), Path(folder, "probe")
        source.write_text(program)
        for command in ([*compiler, "-O1", "-fopenmp", str(source), "-o", str(binary)], [str(binary)]):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
            if done.returncode != 0:
                return first_line(done.stderr) or f"exit status {done.returncode}"
    return ""


def check_disk(folder: Path) -> Finding:
    """Room for a demo, and permission to write."""
    folder = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return _room("Disk", folder, 5.0, "name another folder with --out", "free some space: a demo writes up to 2 GiB")


def check_temporary() -> Finding:
    """Where compilers and video encoders put what they need for a moment."""
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:  # none of the usual places can be written
        return Finding(
            name="Temporary files",
            status=Status.PROBLEM,
            detail=str(error),
            remedy="name a folder that can be written in TMPDIR",
        )
    return _room("Temporary files", folder, 1.0, "name another folder in TMPDIR", "free some space, or set TMPDIR")


def _room(name: str, folder: Path, enough: float, elsewhere: str, more: str) -> Finding:
    """Whether ``folder`` can be written and has ``enough`` GiB; less than a fifth of that is a problem."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / GIB
    except OSError as error:
        return Finding(
            name=name,
            status=Status.PROBLEM,
            detail=f"cannot write to {folder}: {error.strerror}",
            remedy=f"change its permissions, or {elsewhere}",
        )
    status = Status.OK if free >= enough else Status.WARNING if free >= enough / 5 else Status.PROBLEM
    return Finding(
        name=name,
        status=status,
        detail=f"{free:.1f} GiB free in {folder}",
        remedy="" if status is Status.OK else more,
    )


def check_memory() -> Finding:
    """Memory of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    size = total / GIB
    status = Status.OK if size >= 7 else Status.WARNING
    return Finding(
        name="Memory",
        status=status,
        detail=f"{size:.1f} GiB",
        remedy=""
        if status is Status.OK
        else "the demo needs about 4 GiB; close other programs or use vrmm demo --quick",
    )
