"""The three exports: from an avatar to a file, and from the file back to a measure."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float

from datasets.errors import VrmmError
from prior.surface import Surface
from tools.export.basis import SUFFIX, write_basis
from tools.export.expressions import leading_expressions, surface_offset
from tools.export.glb import read_glb, write_glb
from tools.export.layer_fit import fit_layers
from tools.export.measure import Render, RoundTrip, round_trip
from tools.export.outline import outline_difference
from tools.export.page import read_page, write_page
from tools.export.ply import read_ply, write_ply
from tools.export.response import Response, surface_response
from tools.export.source import Pictures, Source, one_camera
from tools.export.splat_fit import fit_splats, narrowest_splat, splats_on_surface
from tools.export.splats import Splats, render_splats, splat_footprint

Progress = Callable[[int, int], object]

LIFTS = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5)
"""Standard deviations in front of the mean depth that are tried for the surface."""
OUTLINE_SIZE = 96
OUTLINE_VIEWS = 8
LEAST_WEIGHT = 0.004
"""Splats that take no more of any pixel in any picture are left out: one step of 8-bit values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How an export is made.

    Attributes:
        size: pixels along a side of the pictures that it is fitted to and judged by, and texels of the texture.
        views: pictures all around that it is fitted to.
        steps: of the optimiser of splats.
        expressions: morph targets of a mesh.
        layers: sheets of a mesh, one inside the other; all but the innermost are see-through.
        vertices: of the refined base mesh, at most; splats begin on them.
    """

    size: int = 256
    views: int = 36
    steps: int = 300
    expressions: int = 8
    layers: int = 4
    vertices: int = 20000

    def __post_init__(self) -> None:
        smallest = {"size": 32, "views": 4, "steps": 0, "expressions": 0, "layers": 1, "vertices": 100}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise VrmmError(f"--{name} {getattr(self, name)} is too small; use {least} or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: the files, in words what is in them, and what the first one has lost."""

    files: list[Path]
    content: str
    lost: RoundTrip


def export_glb(
    source: Source, out: Path, settings: ExportSettings, prior: Path | None, progress: Progress | None = None
) -> Exported:
    """The base mesh on the volume's surface, in textured sheets, with expressions as morph targets."""
    expressions = leading_expressions(source, settings.expressions, prior)
    step = _Steps(progress, 3 + len(expressions))
    surface, lift = outlined_surface(source, settings)
    step.done()
    pictures = source.pictures(source.fit_cameras(settings.views, settings.size))
    step.done()
    mesh = surface.mesh
    layered = fit_layers(mesh, surface.points, pictures, layers=settings.layers, size=settings.size)
    step.done()
    offsets = []
    for expression in expressions:
        offsets.append(surface_offset(source, mesh, expression, lift))
        step.done()
    morphs = [(expression.name, offset) for expression, offset in zip(expressions, offsets, strict=True)]
    about = {
        "expression_codes": {expression.name: expression.offset.tolist() for expression in expressions},
        "neutral_code": source.z_e[0].tolist(),
    }
    write_glb(out, layered, mesh.normals(layered.points[0]), morphs, about)
    sheets = f"{settings.layers} sheets" if settings.layers > 1 else "one sheet"
    content = f"{sheets} of {len(surface.points)} vertices and {settings.size}² texels, {len(morphs)} expressions"
    return Exported(files=[out], content=content, lost=_lost(source, out, settings))


def export_ply(source: Source, out: Path, settings: ExportSettings, progress: Progress | None = None) -> Exported:
    """Splats in the light that is baked in, and beside them how each of them answers to any other."""
    splats, response = fitted_splats(source, settings, progress)
    beside = out.with_name(out.stem + SUFFIX)
    write_basis(beside, response, source.model.light_sphere.directions, source.light)
    write_ply(out, splats)
    return Exported(files=[out, beside], content=f"{len(splats)} splats", lost=_lost(source, out, settings))


def export_html(
    source: Source, out: Path, settings: ExportSettings, title: str, progress: Progress | None = None
) -> Exported:
    """A page that shows splats, turns them and lights them anew."""
    splats, response = fitted_splats(source, settings, progress)
    write_page(out, splats, response, source, title)
    return Exported(files=[out], content=f"{len(splats)} splats", lost=_lost(source, out, settings))


def open_export(path: Path, light: Float[torch.Tensor, "L 3"]) -> Render:
    """What a file shows from any camera of the head frame; ``light`` is what a page is lit with.

    Raises:
        VrmmError: the file is no export.
    """
    if path.suffix == ".glb":
        mesh = read_glb(path)[0]
        return mesh.render
    if path.suffix == ".ply":
        splats = read_ply(path)
        return lambda camera: render_splats(splats, camera)
    page = read_page(path)
    return lambda camera: page.render(light, camera)


def _lost(source: Source, out: Path, settings: ExportSettings) -> RoundTrip:
    return round_trip(source.pictures(source.test_cameras(settings.size)), open_export(out, source.light))


def outlined_surface(source: Source, settings: ExportSettings) -> tuple[Surface, float]:
    """The surface whose outlines are most like the avatar's, and its lift (``Surface.lifted``)."""
    surface = source.surface(source.fine_mesh(settings.vertices), source.geometry())
    pictures = source.pictures(source.fit_cameras(OUTLINE_VIEWS, OUTLINE_SIZE))
    difference = {lift: outline_difference(surface.lifted(lift).points, surface.mesh.faces, pictures) for lift in LIFTS}
    best = min(difference, key=lambda lift: difference[lift])
    return surface.lifted(best), best


def fitted_splats(
    source: Source, settings: ExportSettings, progress: Progress | None = None
) -> tuple[Splats, Response]:
    """Splats that look like the source in its light, and how each of them answers to any light."""
    surface, _ = outlined_surface(source, settings)
    everywhere, harmonics = surface_response(source, source.geometry(), surface)
    start, vertices = splats_on_surface(surface, harmonics)
    pictures = source.pictures(source.fit_cameras(settings.views, settings.size))
    splats = fit_splats(
        start,
        pictures.cameras,
        pictures.values,
        pictures.alpha,
        steps=settings.steps,
        narrowest=narrowest_splat(start.center),
        progress=progress,
    )
    kept = seen_splats(splats, pictures)
    response = everywhere.at(vertices[kept]).matched(splats.harmonics[kept], source.light)
    return splats.at(kept), response


def seen_splats(splats: Splats, pictures: Pictures) -> torch.Tensor:
    """Numbers of the splats that take part in at least one picture."""
    most = torch.zeros(len(splats))
    for view in range(len(pictures.values)):
        footprint = splat_footprint(splats, one_camera(pictures.cameras, view))
        most.scatter_reduce_(0, footprint.splat, footprint.weight, "amax")
    return (most > LEAST_WEIGHT).nonzero()[:, 0]


class _Steps:
    """Counts stages for a callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._count = progress, total, 0

    def done(self) -> None:
        self._count += 1
        if self._progress is not None:
            self._progress(self._count, self._total)
