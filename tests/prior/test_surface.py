"""The refined base mesh, and the surface of a volume on it."""

import numpy as np
import torch

from prior.finemesh import FineMesh, refine_mesh
from prior.primitives import Placement, TangentGrid
from prior.surface import trace_surface, voxel_centers
from prior.template import Template
from tests.prior.small_model import sphere_template

RADIUS = 0.1


def fine_sphere(template: Template) -> FineMesh:
    return refine_mesh(template.vertices, template.uv, template.faces, most_vertices=3000)


def uses_of_edges(mesh: FineMesh) -> np.ndarray:
    """How many faces with area meet in each edge, points on a seam taken as one."""
    faces = mesh.weld[mesh.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(sides, axis=0, return_counts=True)[1]


def test_the_refined_head_is_closed() -> None:
    """The UV square of the template leaves a slit at the back; the mesh that is exported has none."""
    template = sphere_template()
    open_edges = np.sort(
        np.concatenate([template.faces[:, [0, 1]], template.faces[:, [1, 2]], template.faces[:, [2, 0]]]), axis=1
    )
    assert (np.unique(open_edges, axis=0, return_counts=True)[1] == 1).any()
    mesh = fine_sphere(template)
    assert 1000 < len(mesh) <= 3000
    assert (uses_of_edges(mesh) % 2 == 0).all()
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    points = mesh.points(template.vertices)
    outward = (mesh.normals(points) * points).sum(axis=1) / np.linalg.norm(points, axis=1)
    assert outward.min() > 0.5, "every normal looks out, those of the strip that closes the slit, too"


def test_what_is_open_on_purpose_stays_open() -> None:
    """A square sheet is no folded octahedron: its border is far from itself."""
    axis = np.linspace(0.0, 1.0, 5)
    u, v = np.meshgrid(axis, axis)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    index = np.arange(25).reshape(5, 5)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    rest = np.concatenate([uv, np.zeros((25, 1))], axis=1)
    mesh = refine_mesh(rest, uv, faces, most_vertices=100)
    assert len(mesh) == 81
    np.testing.assert_allclose(mesh.points(rest)[:, :2], mesh.uv, atol=1e-12)
    assert (uses_of_edges(mesh) == 1).sum() == 32


def shell(template: Template) -> tuple[Placement, torch.Tensor]:
    """Boxes on a sphere whose lower third, from 4 mm under it, stops every ray."""
    grid = TangentGrid(template, 32, 0.012)
    layers = torch.linspace(-0.012, 0.012, 13)
    opacity = torch.where(layers < -0.004 + 1e-6, 3000.0, 0.0)[None, :, None, None].repeat(1024, 1, 2, 2)
    return grid(torch.tensor(template.vertices)[None]), opacity


def test_the_surface_lies_where_the_volume_begins() -> None:
    template = sphere_template()
    placement, opacity = shell(template)
    mesh = fine_sphere(template)
    surface = trace_surface(mesh, template.vertices, placement, opacity, 0.012)
    front = mesh.points(template.vertices)[:, 2] > 0.3 * RADIUS
    depth = RADIUS - np.linalg.norm(surface.points[front], axis=1)
    # Opacity rises over one layer of 2 mm, and flat boxes with a radius of 10 mm rise above a sphere by 0.5 mm.
    assert 0.0015 < np.median(depth) < 0.0045
    assert (surface.alpha[front] > 0.99).mean() > 0.98
    assert 0 < np.median(surface.spread[front]) < 0.008  # the boxes' layers are tilted against each other
    lifted = surface.lifted(2.0)
    assert (np.linalg.norm(lifted.points[front], axis=1) >= np.linalg.norm(surface.points[front], axis=1) - 1e-9).all()
    heights = voxel_centers(placement, opacity.shape).norm(dim=1, keepdim=True)
    # What a ray gathers of the voxels' places is where it ends (centres of sparse voxels are interpolated: 2 mm, and
    # where the boxes of the folded corner meet, rays come in at a slant).
    gathered = surface.gather(heights)[:, 0].numpy()[front]
    assert np.abs(gathered - (RADIUS - depth)).max() < 0.003


def test_a_hole_continues_its_surroundings() -> None:
    """Where there is no opacity the surface is that of the neighbours and not that of the base mesh."""
    template = sphere_template()
    placement, opacity = shell(template)
    ahead = np.array([0.0, 0.0, RADIUS])
    opacity[(placement.center[0] - torch.tensor(ahead, dtype=torch.float32)).norm(dim=-1) < 0.025] = 0.0
    mesh = fine_sphere(template)
    surface = trace_surface(mesh, template.vertices, placement, opacity, 0.012)
    near = np.linalg.norm(mesh.points(template.vertices) - ahead, axis=1) < 0.008
    assert near.any()
    assert surface.alpha[near].max() < 0.5
    assert (RADIUS - np.linalg.norm(surface.points[near], axis=1) > 0.001).all()


def test_a_crumpled_base_mesh_still_finds_the_volume() -> None:
    """Under hair the base mesh is folded by millimetres and its normals point anywhere; the volume there is smooth."""
    template = sphere_template()
    placement, opacity = shell(template)
    mesh = fine_sphere(template)
    crumpled = template.vertices + 0.002 * np.random.default_rng(0).standard_normal(template.vertices.shape)
    front = mesh.points(template.vertices)[:, 2] > 0.3 * RADIUS
    surface = trace_surface(mesh, crumpled.astype(np.float32), placement, opacity, 0.012)
    radius = np.linalg.norm(surface.points[front], axis=1)
    assert np.ptp(radius) < 0.006
    outward = surface.points[front] / radius[:, None]
    assert (surface.normals[front] * outward).sum(axis=1).min() > 0.92
