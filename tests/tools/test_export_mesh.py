"""The mesh: rasteriser and baker against analysis, and the GLB as trimesh sees it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from datasets.errors import VrmmError
from prior.finemesh import refine_mesh
from tests.fitting.tiny import cameras
from tests.prior.small_model import sphere_template
from tools.export.glb import read_glb, write_glb
from tools.export.outline import fit_outlines, outline_difference
from tools.export.raster import rasterize
from tools.export.source import Pictures, one_camera
from tools.export.texture import TexturedMesh, bake_texture


def sheet(resolution: int = 9, depth: float = 0.0, half: float = 0.12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square sheet across the view: points, uv (v down), faces."""
    axis = np.linspace(0.0, 1.0, resolution)
    u, v = np.meshgrid(axis, axis)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    index = np.arange(resolution**2).reshape(resolution, resolution)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    points = np.stack([half * (2 * uv[:, 0] - 1), half * (1 - 2 * uv[:, 1]), np.full(len(uv), depth)], axis=1)
    return points, uv, faces


def test_the_rasteriser_sees_the_point_on_the_ray() -> None:
    """Corner weights put every hit onto its pixel's ray, on a tilted sheet (perspective), and the nearer sheet wins."""
    points, _, faces = sheet()
    tilt = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    near = points @ tilt.T + [0.0, 0.0, 0.05]
    far = points + [0.0, 0.0, -0.2]
    both, joined = np.concatenate([far, near]), np.concatenate([faces, faces + len(points)])
    camera = cameras((15.0,), size=40)
    hits = rasterize(both, joined, camera)
    assert len(hits.pixel) > 400
    assert (np.diff(hits.pixel) > 0).all(), "one hit a pixel"
    seen = (both[joined[hits.face]] * hits.weight[:, :, None]).sum(axis=1)
    pixels = camera.project(torch.tensor(seen, dtype=torch.float32)[None])[0].numpy()
    centers = np.stack([hits.pixel % 40, hits.pixel // 40], axis=1) + 0.5
    np.testing.assert_allclose(pixels, centers, atol=1e-3)
    alone = rasterize(near, faces, camera)
    shared = np.isin(hits.pixel, alone.pixel)
    assert (hits.face[shared] >= len(faces)).all()


def test_the_baker_finds_the_texture() -> None:
    """Pictures of a known texture give it back; what no picture shows is filled smoothly."""
    points, uv, faces = sheet()
    size = 16
    row, column = np.mgrid[:size, :size] / (size - 1)
    texture = np.stack([row, column, 0.5 + 0.4 * np.sin(6 * row) * np.cos(5 * column)], axis=-1)
    mesh = TexturedMesh(points=points, uv=uv, faces=faces, texture=texture)
    views = cameras((0.0, 20.0, -20.0), size=64)
    shown = [mesh.render(one_camera(views, view)) for view in range(3)]
    values, alpha = (torch.stack(part) for part in zip(*shown, strict=True))
    found = bake_texture(points, uv, faces, Pictures(cameras=views, values=values, alpha=alpha), size)
    inner = slice(1, -1)  # the outermost texels lie on the outline, which says nothing
    # Pixels are of a texel's size; smoothing weighs 2 % of a texel that is seen well.
    assert np.abs(found - texture)[inner, inner].mean() < 0.01
    assert np.isfinite(found).all()


def test_outlines_tell_sizes_apart() -> None:
    points, uv, faces = sheet()
    mesh = TexturedMesh(points=points, uv=uv, faces=faces, texture=np.ones((4, 4, 3)))
    views = cameras((0.0, 30.0), size=48)
    shown = [mesh.render(one_camera(views, view)) for view in range(2)]
    values, alpha = (torch.stack(part) for part in zip(*shown, strict=True))
    pictures = Pictures(cameras=views, values=values, alpha=alpha)
    right, wrong = (outline_difference(points * factor, faces, pictures) for factor in (1.0, 1.1))
    assert right < 0.2 * wrong


def test_outlines_pull_the_mesh_onto_them() -> None:
    """A ball that is 4 mm too small, and one that is 4 mm too large, become the one in the pictures."""
    template = sphere_template()
    mesh = refine_mesh(template.vertices, template.uv, template.faces, most_vertices=3000)
    points = mesh.points(template.vertices)
    views = cameras((0.0, 60.0, 120.0, 180.0, 240.0, 300.0), size=96)
    textured = TexturedMesh(points=points, uv=mesh.uv, faces=mesh.faces, texture=np.ones((4, 4, 3)))
    shown = [textured.render(one_camera(views, view)) for view in range(6)]
    values, alpha = (torch.stack(part) for part in zip(*shown, strict=True))
    pictures = Pictures(cameras=views, values=values, alpha=alpha)
    for factor in (0.96, 1.04):
        found = fit_outlines(mesh, factor * points, pictures)
        equator = np.abs(points[:, 1]) < 0.05
        # A pixel is 3 mm, of which outlines without anti-aliasing tell a half.
        assert np.abs(np.linalg.norm(found[equator], axis=1) - 0.1).mean() < 0.0015


def written(path: Path) -> TexturedMesh:
    points, uv, faces = sheet(5)
    random = np.random.default_rng(0)
    texture = random.random((8, 8, 3))
    mesh = TexturedMesh(points=points, uv=uv, faces=faces, texture=texture)
    morphs = [
        ("expression_01_mouth", 0.01 * random.standard_normal(points.shape)),
        ("expression_02_jaw", 0.02 * points),
    ]
    write_glb(path, mesh, np.tile([0.0, 0.0, 1.0], (len(points), 1)), morphs, {"neutral_code": [0.0]})
    return mesh


def test_glb_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    mesh = written(path)
    found, morphs = read_glb(path)
    np.testing.assert_allclose(found.points, mesh.points, atol=1e-7)
    np.testing.assert_allclose(found.uv, mesh.uv, atol=1e-7)
    np.testing.assert_array_equal(found.faces, mesh.faces)
    # 8 bits after the sRGB curve; its straight foot is coarser where display values are dark.
    assert np.abs(found.texture - mesh.texture).max() < 0.02
    assert np.abs(found.texture - mesh.texture)[mesh.texture > 0.1].max() < 0.004
    assert list(morphs) == ["expression_01_mouth", "expression_02_jaw"]
    np.testing.assert_allclose(morphs["expression_02_jaw"], 0.02 * mesh.points, atol=1e-7)


def test_trimesh_opens_the_glb(tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    mesh = written(path)
    scene = trimesh.load(path, process=False)
    (head,) = scene.geometry.values()
    np.testing.assert_allclose(head.vertices, mesh.points, atol=1e-7)
    np.testing.assert_array_equal(head.faces, mesh.faces)
    np.testing.assert_allclose(head.visual.uv, mesh.uv * [1, -1] + [0, 1], atol=1e-6)  # trimesh counts v upwards
    assert head.visual.material.baseColorTexture.size == (8, 8)


def test_glb_is_laid_out_as_gltf_wants(tmp_path: Path) -> None:
    """Chunks and views on multiples of four bytes, bounds of positions, names of targets, an unlit material."""
    path = tmp_path / "head.glb"
    written(path)
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, length % 4, len(data) % 4) == (b"JSON", 0, 0)
    document = json.loads(data[20 : 20 + length])
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    mesh = document["meshes"][0]
    assert mesh["extras"]["targetNames"] == ["expression_01_mouth", "expression_02_jaw"]
    assert mesh["weights"] == [0.0, 0.0]
    for target in mesh["primitives"][0]["targets"]:
        assert {"min", "max"} <= document["accessors"][target["POSITION"]].keys()
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]


def test_a_file_that_is_no_glb(tmp_path: Path) -> None:
    for content in (b"", b"glTF" + bytes(40)):
        (tmp_path / "x.glb").write_bytes(content)
        with pytest.raises(VrmmError, match="x.glb is not a mesh"):
            read_glb(tmp_path / "x.glb")
