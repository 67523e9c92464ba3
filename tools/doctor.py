"""``vrmm doctor``: what this machine has, what it lacks, and how to mend it."""

import dataclasses
import enum
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tools.console import console
from tools.probes import PREFIX, PROBES, shadowing_package

PROBE_TIMEOUT_SECONDS = 120
GIB = 2**30


class Status(enum.Enum):
    """``WARNING`` works with less, ``PROBLEM`` does not work."""

    OK = "green"
    WARNING = "yellow"
    PROBLEM = "red"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: what was checked.
        status: how it is.
        detail: what was found, in a few words.
        remedy: how to mend it, one line; empty where nothing needs mending.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder that runs will be written to.")] = Path("."),
) -> None:
    """Check this machine: Python, compiler, libraries, video encoder, disk, memory.

    Exits with 1 if something that vrmm cannot do without is missing.
    """
    findings = examine(folder)
    console.print(_table(findings))
    problems = sum(finding.status is Status.PROBLEM for finding in findings)
    warnings = sum(finding.status is Status.WARNING for finding in findings)
    console.print(f"{len(findings)} checks: {problems} problems, {warnings} warnings")
    raise typer.Exit(1 if problems else 0)


def examine(folder: Path) -> list[Finding]:
    """All checks, in the order in which one would mend them."""
    findings = [check_python(), check_datasets_package(), check_compiler()]
    findings += [check_library(name) for name in PROBES]
    findings += [check_slurm(), check_disk(folder), check_memory()]
    return findings


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
                done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
            if done.returncode != 0:
                return _first_line(done.stderr) or f"exit status {done.returncode}"
    return ""


def check_library(name: str) -> Finding:
    """Import and use a library in a process of its own, so that one that crashes is named too."""
    probe = PROBES[name]
    detail, worked = _answer([sys.executable, "-m", "tools.probes", name])
    if worked:
        return Finding(name=probe.title, status=Status.OK, detail=detail)
    status = Status.PROBLEM if probe.needed else Status.WARNING
    return Finding(name=probe.title, status=status, detail=detail, remedy=probe.remedy)


def _answer(command: Sequence[str]) -> tuple[str, bool]:
    """What a probe found and True, or why it failed and False."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_SECONDS} s", False
    lines = [line.removeprefix(PREFIX) for line in done.stdout.splitlines() if line.startswith(PREFIX)]
    if done.returncode == 0 and lines:
        return lines[-1], True
    return _last_line(done.stderr) or f"died with status {done.returncode}", False


def check_slurm() -> Finding:
    """Slurm is only needed on clusters."""
    found = shutil.which("sbatch")
    return Finding(name="Slurm", status=Status.OK, detail=found or "no sbatch here (only clusters need it)")


def check_disk(folder: Path) -> Finding:
    """Room for a demo, and permission to write."""
    folder = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free / GIB
    except OSError as error:
        return Finding(
            name="Disk",
            status=Status.PROBLEM,
            detail=f"cannot write to {folder}: {error.strerror}",
            remedy="change its permissions, or name another folder with --out",
        )
    status = Status.OK if free >= 5 else Status.WARNING if free >= 1 else Status.PROBLEM
    return Finding(
        name="Disk",
        status=status,
        detail=f"{free:.1f} GiB free in {folder}",
        remedy="" if status is Status.OK else "free some space: a demo writes up to 2 GiB",
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


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(title="vrmm doctor", title_justify="left")
    for column in ("check", "state", "found", "to mend it"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = f"[{finding.status.value}]{finding.status.name.lower()}[/]"
        table.add_row(finding.name, state, Text(finding.detail), Text(finding.remedy))
    return table


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
