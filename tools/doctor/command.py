"""The command line of ``vrmm doctor``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tools.console import console
from tools.doctor.finding import Finding, Status
from tools.doctor.libraries import check_extras, check_library, check_versions
from tools.doctor.machine import (
    check_compiler,
    check_datasets_package,
    check_disk,
    check_memory,
    check_python,
    check_temporary,
)
from tools.doctor.programs import check_gpu, check_slurm
from tools.doctor.weights import check_weights
from tools.probes import PROBES


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder that runs will be written to.")] = Path("."),
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="To try: VGG-19, LPIPS, face_landmarker.task, a head model, a run or an avatar; may be repeated."
        ),
    ] = None,
) -> None:
    """Check this machine: Python, compiler, GPU, libraries, weights files, video encoder, Slurm, disk, memory.

    Says how to mend what is wrong, and exits with 1 if something that vrmm cannot do without is missing.
    """
    findings = examine(folder, weights or [])
    console.print(_table(findings))
    problems = sum(finding.status is Status.PROBLEM for finding in findings)
    warnings = sum(finding.status is Status.WARNING for finding in findings)
    console.print(f"{len(findings)} checks: {problems} problems, {warnings} warnings")
    raise typer.Exit(1 if problems else 0)


def examine(folder: Path, weights: Sequence[Path] = ()) -> list[Finding]:
    """All checks, in the order in which one would mend them."""
    findings = [check_python(), check_datasets_package(), check_versions(), check_extras(), check_compiler()]
    findings += [check_library(name) for name in PROBES]
    findings += [check_gpu(), *check_weights(weights), check_slurm()]
    return [*findings, check_disk(folder), check_temporary(), check_memory()]


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(title="vrmm doctor", title_justify="left")
    for column in ("check", "state", "found", "to mend it"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = f"[{finding.status.value}]{finding.status.name.lower()}[/]"
        table.add_row(finding.name, state, Text(finding.detail), Text(finding.remedy))
    return table
