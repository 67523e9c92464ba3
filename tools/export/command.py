"""The command line of ``vrmm export``."""

from pathlib import Path
from typing import Annotated

import typer

from tools.console import progress_bar

FORMATS = ("glb", "ply", "html")
FOR_GLB, FOR_SPLATS = "glb", "ply or html"


def export(
    avatar: Annotated[Path, typer.Argument(help="Folder that vrmm fit has written.")],
    format: Annotated[str, typer.Option(help="glb (mesh), ply (splats) or html (a page to turn and relight it).")],
    out: Annotated[Path, typer.Option(help="The file; a ply gets its relighting basis beside it.")],
    light: Annotated[
        str, typer.Option(help="Baked in: photo, even, or AZIMUTH,ELEVATION of a lamp, degrees.")
    ] = "photo",
    size: Annotated[int, typer.Option(help="Pixels along a side of the pictures it is fitted to and judged by.")] = 256,
    views: Annotated[int, typer.Option(help="Pictures all around that it is fitted to.")] = 36,
    steps: Annotated[int | None, typer.Option(help="ply and html: steps of the splats' optimiser; 300.")] = None,
    expressions: Annotated[int | None, typer.Option(help="glb: number of morph targets; 8.")] = None,
    layers: Annotated[
        int | None, typer.Option(help="glb: sheets, all but the innermost see-through; 4. 1 is an opaque mesh.")
    ] = None,
    prior: Annotated[
        Path | None, typer.Option(help="glb: run folder whose expression codes say what is usual.")
    ] = None,
) -> None:
    """Write an avatar as a mesh, as Gaussian splats, or as a page for any browser.

    The file is read again, rendered and compared with the avatar; the last line printed is the PSNR of that round trip.
    """
    from datasets.errors import VrmmError
    from fitting.avatar import Avatar
    from tools.export.build import ExportSettings, export_glb, export_html, export_ply
    from tools.export.light import chosen_light
    from tools.export.report import check_target, describe
    from tools.export.source import Source

    if format not in FORMATS:
        raise VrmmError(f"--format {format} is unknown; give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    for name, value, wanted in (
        ("steps", steps, FOR_SPLATS),
        ("expressions", expressions, FOR_GLB),
        ("layers", layers, FOR_GLB),
        ("prior", prior, FOR_GLB),
    ):
        if value is not None and format not in wanted:
            raise VrmmError(f"--{name} does nothing for --format {format}; it is for {wanted}")
    given = {"steps": steps, "expressions": expressions, "layers": layers}
    settings = ExportSettings(
        size=size, views=views, **{name: value for name, value in given.items() if value is not None}
    )
    check_target(out)
    loaded = Avatar.load(avatar)
    source = Source.of_avatar(loaded, chosen_light(loaded, light))
    with progress_bar(f"exporting {out}") as report:
        if format == "glb":
            exported = export_glb(source, out, settings, prior, report)
        elif format == "ply":
            exported = export_ply(source, out, settings, report)
        else:
            exported = export_html(source, out, settings, f"vrmm: {avatar.resolve().name}", report)
    for line in describe(exported, loaded.report):
        print(line)
