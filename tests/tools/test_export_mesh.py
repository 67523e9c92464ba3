"""The mesh: rasteriser and baker against analysis, and the GLB as trimesh sees it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from datasets.errors import VrmmError
from prior.cameras import CameraBatch
from prior.finemesh import refine_mesh
from tests.fitting.tiny import cameras
from tests.prior.small_model import sphere_template
from tools.export.glb import read_glb, write_glb
from tools.export.layer_fit import fit_layers
from tools.export.layers import LayeredMesh
from tools.export.outline import fit_outlines, outline_difference
from tools.export.raster import facing, rasterize
from tools.export.source import Pictures, one_camera
from tools.export.texture import bake_texture


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


def opaque(points: np.ndarray, uv: np.ndarray, faces: np.ndarray, texture: np.ndarray) -> LayeredMesh:
    """A mesh of one sheet."""
    return stack([points], uv, faces, [np.concatenate([texture, np.ones_like(texture[..., :1])], axis=-1)])


def stack(points: list[np.ndarray], uv: np.ndarray, faces: np.ndarray, textures: list[np.ndarray]) -> LayeredMesh:
    return LayeredMesh(points=np.stack(points), uv=uv, faces=faces, textures=np.stack(textures))


def pictures_of(mesh: LayeredMesh, views: CameraBatch) -> Pictures:
    shown = [mesh.render(one_camera(views, view)) for view in range(len(views.intrinsics))]
    values, alpha = (torch.stack(part) for part in zip(*shown, strict=True))
    return Pictures(cameras=views, values=values, alpha=alpha)


def plain(*rgba: float) -> np.ndarray:
    """A texture of one colour."""
    return np.tile(np.array(rgba), (4, 4, 1))


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
    into = camera.world_to_camera[0].double().numpy()
    np.testing.assert_allclose(hits.depth, (seen @ into[:, :3].T + into[:, 3])[:, 2], rtol=1e-9)
    alone = rasterize(near, faces, camera)
    shared = np.isin(hits.pixel, alone.pixel)
    assert (hits.face[shared] >= len(faces)).all()


def test_the_baker_finds_the_texture() -> None:
    """Pictures of a known texture give it back; what no picture shows is filled smoothly."""
    points, uv, faces = sheet()
    size = 16
    row, column = np.mgrid[:size, :size] / (size - 1)
    texture = np.stack([row, column, 0.5 + 0.4 * np.sin(6 * row) * np.cos(5 * column)], axis=-1)
    pictures = pictures_of(opaque(points, uv, faces, texture), cameras((0.0, 20.0, -20.0), size=64))
    found = bake_texture(points, uv, faces, pictures, size)
    inner = slice(1, -1)  # the outermost texels lie on the outline, which says nothing
    # Pixels are of a texel's size; smoothing weighs 2 % of a texel that is seen well.
    assert np.abs(found - texture)[inner, inner].mean() < 0.01
    assert np.isfinite(found).all()


def test_outlines_tell_sizes_apart() -> None:
    points, uv, faces = sheet()
    pictures = pictures_of(opaque(points, uv, faces, np.ones((4, 4, 3))), cameras((0.0, 30.0), size=48))
    right, wrong = (outline_difference(points * factor, faces, pictures) for factor in (1.0, 1.1))
    assert right < 0.2 * wrong


def test_outlines_pull_the_mesh_onto_them() -> None:
    """A ball that is 4 mm too small, and one that is 4 mm too large, become the one in the pictures."""
    template = sphere_template()
    mesh = refine_mesh(template.vertices, template.uv, template.faces, most_vertices=3000)
    points = mesh.points(template.vertices)
    views = cameras((0.0, 60.0, 120.0, 180.0, 240.0, 300.0), size=96)
    pictures = pictures_of(opaque(points, mesh.uv, mesh.faces, np.ones((4, 4, 3))), views)
    for factor in (0.96, 1.04):
        found = fit_outlines(mesh, factor * points, pictures)
        equator = np.abs(points[:, 1]) < 0.05
        # A pixel is 3 mm, of which outlines without anti-aliasing tell a half.
        assert np.abs(np.linalg.norm(found[equator], axis=1) - 0.1).mean() < 0.0015


def test_sheets_lie_over_one_another() -> None:
    """Red, half covered by green, a quarter of that covered by blue; from behind only the innermost is there."""
    points, uv, faces = sheet()
    faces = faces[:, ::-1]  # counter-clockwise as seen from the front
    colours = [plain(1, 0, 0, 1), plain(0, 1, 0, 0.5), plain(0, 0, 1, 0.25)]
    mesh = stack([points, points + [0, 0, 0.005], points + [0, 0, 0.01]], uv, faces, colours)
    camera = cameras((0.0,), size=32)
    front, back = (mesh.render(cameras((turn,), size=32))[0][:, 16, 16] for turn in (0.0, 180.0))
    np.testing.assert_allclose(front, [0.375, 0.375, 0.25], atol=1e-6)
    np.testing.assert_allclose(back, [1.0, 0.0, 0.0], atol=1e-6)
    assert facing(points, faces, camera).all()
    rim = stack([0.5 * points, points + [0, 0, 0.005]], uv, faces, [plain(1, 0, 0, 1), plain(0, 1, 0, 0.5)])
    assert rim.render(camera)[1][0, 7, 7] == pytest.approx(0.5)
    assert rim.render(cameras((180.0,), size=32))[1][0, 7, 7] == 0.0, "outer sheets have no inner side"
    alone = stack([points - [0, 0, 0.005], points], uv, faces, [plain(0, 0, 0, 1), plain(1, 1, 1, 0.5)])
    hidden = stack([points + [0, 0, 0.005], points], uv, faces, [plain(0, 0, 0, 1), plain(1, 1, 1, 0.5)])
    assert alone.render(camera)[0].max() > 0.4
    assert hidden.render(camera)[0][:, 8:24, 8:24].max() == 0.0, "behind the innermost sheet nothing is seen"


def test_sheets_have_soft_outlines_which_one_opaque_mesh_has_not() -> None:
    """A ball in a shell of fog 4 mm thick: pictures that were not fitted, within and across its outline."""
    template = sphere_template()
    mesh = refine_mesh(template.vertices, template.uv, template.faces, most_vertices=2000)
    ball = mesh.points(template.vertices)
    shells = [0.96 * ball, *(factor * ball for factor in np.linspace(0.965, 1.0, 6))]
    colours = [plain(0.6, 0.4, 0.3, 1), *[plain(0.9, 0.9, 0.9, 0.25)] * 6]
    truth = stack(shells, mesh.uv, mesh.faces, colours)
    around = tuple(np.linspace(0.0, 315.0, 8))
    pictures, unseen = (pictures_of(truth, cameras(turns, size=48)) for turns in (around, (20.0, 160.0)))
    error = {}
    for layers in (1, 4):
        found = fit_layers(mesh, ball, pictures, layers=layers, size=32)
        assert (found.textures[0, ..., 3] == 1.0).all()
        shown = pictures_of(found, unseen.cameras)
        error[layers] = float(((shown.values - unseen.values) ** 2).mean())
    assert error[4] < 0.5 * error[1]  # 0.37; the fog's colour at the rim is what remains


def written(path: Path) -> LayeredMesh:
    points, uv, faces = sheet(5)
    random = np.random.default_rng(0)
    inner, outer = random.random((2, 8, 8, 4))
    inner[..., 3] = 1.0
    mesh = stack([points, points + [0.0, 0.0, 0.002]], uv, faces, [inner, outer])
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
    difference = np.abs(found.textures - mesh.textures)
    assert difference.max() < 0.02
    assert difference[mesh.textures > 0.1].max() < 0.004
    assert difference[..., 3].max() < 0.5 / 255 + 1e-9
    assert (found.textures[0, ..., 3] == 1.0).all()
    assert list(morphs) == ["expression_01_mouth", "expression_02_jaw"]
    np.testing.assert_allclose(morphs["expression_02_jaw"], 0.02 * mesh.points[0], atol=1e-7)


def test_trimesh_opens_the_glb(tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    mesh = written(path)
    scene = trimesh.load(path, process=False)
    sheets = list(scene.geometry.values())
    for head, points in zip(sheets, mesh.points, strict=True):
        np.testing.assert_allclose(head.vertices, points, atol=1e-7)
        np.testing.assert_array_equal(head.faces, mesh.faces)
        np.testing.assert_allclose(head.visual.uv, mesh.uv * [1, -1] + [0, 1], atol=1e-6)  # trimesh counts v upwards
        assert head.visual.material.baseColorTexture.size == (8, 8)
    assert [head.visual.material.alphaMode for head in sheets] == ["OPAQUE", "BLEND"]
    assert [head.visual.material.baseColorTexture.mode for head in sheets] == ["RGB", "RGBA"]


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
    assert len(mesh["primitives"]) == len(document["materials"]) == len(document["images"]) == 2
    for sheet_of in mesh["primitives"]:
        assert len(sheet_of["targets"]) == 2, "all sheets move together"
        for target in sheet_of["targets"]:
            assert {"min", "max"} <= document["accessors"][target["POSITION"]].keys()
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]


def test_a_file_that_is_no_glb(tmp_path: Path) -> None:
    for content in (b"", b"glTF" + bytes(40)):
        (tmp_path / "x.glb").write_bytes(content)
        with pytest.raises(VrmmError, match="x.glb is not a mesh"):
            read_glb(tmp_path / "x.glb")
