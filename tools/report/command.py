"""The command line of ``vrmm report``."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tools.console import console, progress_bar


def report(
    run: Annotated[Path, typer.Argument(help="Folder of vrmm demo, of vrmm train, or of vrmm fit.")],
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html or AVATAR.html by default.")] = None,
    shows: Annotated[bool, typer.Option(help="Render the videos and sheets that are not there yet.")] = True,
) -> None:
    """Write one HTML page with all pictures, curves, tables, videos and commands in it; it needs no network."""
    from tools.report.material import read_material
    from tools.report.page import write_report
    from tools.report.shows import make_shows, missing

    material = read_material(run)
    beside = run.resolve().parent / f"{run.resolve().name}.html"  # a bundle holds nothing but its avatar
    path = out or (beside if material.is_avatar else run / "report.html")
    wanted = missing(material) if shows else []
    if wanted:
        with tempfile.TemporaryDirectory() as folder:
            with progress_bar("rendering what the page shows") as progress:
                make_shows(wanted, Path(folder), progress)
            write_report(run, path, shows=Path(folder))
    else:
        write_report(run, path)
    console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in any browser")
