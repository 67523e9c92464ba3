"""The command line of ``vrmm report``."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of vrmm demo, or of vrmm train after vrmm evaluate.")],
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html by default.")] = None,
) -> None:
    """Write one HTML page with all pictures, curves, tables and videos in it; it needs no network."""
    from tools.report.page import write_report

    path = out or run / "report.html"
    write_report(run, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in any browser")
