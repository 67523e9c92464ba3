"""``vrmm export``: a file of each format, its measure, and what users get wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from typer.testing import CliRunner

from datasets.errors import VrmmError
from fitting.avatar import Avatar
from prior.vrmm import VRMM
from tests.fitting.tiny import CONFIG, ellipsoid_template, tiny_model
from tests.tools.made_up_avatar import avatar_of, make_avatar
from tools.export.basis import read_basis
from tools.export.build import ExportSettings, open_export
from tools.export.expressions import leading_expressions, surface_offset
from tools.export.glb import read_glb
from tools.export.light import chosen_light
from tools.export.measure import RoundTrip, round_trip
from tools.export.page import read_page
from tools.export.ply import read_ply
from tools.export.source import Source
from tools.main import COMMANDS, build_app

SMALL = ("--size", "48", "--views", "10")


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_avatar(tmp_path_factory.mktemp("avatar") / "avatar")


def run(*arguments: object) -> list[str]:
    """Lines that the command prints."""
    words = [str(argument) for argument in ("export", *arguments)]
    result = CliRunner().invoke(build_app(COMMANDS, "export", debug=True), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def psnr_of(lines: list[str]) -> float:
    found = re.fullmatch(r"round-trip PSNR (\d+\.\d\d) dB", lines[-1])
    assert found, lines
    return float(found[1])


def test_a_mesh(avatar: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "head.glb"
    lines = run(avatar, "--format", "glb", "--out", out, *SMALL, "--expressions", 2, "--layers", 3)
    # An untrained head: its volume is fog of which no surface is a good copy. Without a texture it is 12 dB.
    assert psnr_of(lines) > 16
    assert "3 sheets" in lines[-4]
    mesh, morphs = read_glb(out)
    assert len(morphs) == 2
    assert all(re.fullmatch(r"expression_0\d_(jaw|brows|nose|eyes|mouth)", name) for name in morphs)
    assert max(np.abs(offset).max() for offset in morphs.values()) > 1e-4
    sheets = list(trimesh.load(out, process=False).geometry.values())
    assert mesh.points.shape == (3, len(sheets[0].vertices), 3)
    assert [head.visual.material.baseColorTexture.size for head in sheets] == [(48, 48)] * 3
    alone = tmp_path / "opaque.glb"
    run(avatar, "--format", "glb", "--out", alone, *SMALL, "--expressions", 0, "--layers", 1)
    assert len(read_glb(alone)[0].points) == 1


def test_splats_and_their_basis(avatar: Path, tmp_path: Path) -> None:
    """The file looks like the avatar, and its basis gives the colours of a light that was not baked in."""
    out = tmp_path / "head.ply"
    lines = run(avatar, "--format", "ply", "--out", out, *SMALL, "--steps", 60)
    assert psnr_of(lines) > 14  # an untrained head is fog, harder than skin; 60 steps
    assert "head.relight.safetensors" in lines[-4]
    splats, basis = read_ply(out), read_basis(tmp_path / "head.relight.safetensors")
    assert len(basis.gain) == len(splats)
    loaded = Avatar.load(avatar)
    other = chosen_light(loaded, "-80,10")
    source = Source.of_avatar(loaded, other)
    wanted = source.pictures(source.test_cameras(48))
    view = torch.tensor([0.0, 0.0, -1.0])
    terms = torch.tensor([0.28209479, -0.48860251 * view[1], 0.48860251 * -view[2], -0.48860251 * view[0]])
    radiance = basis.gain * torch.einsum("k,nkl,lc->nc", terms, basis.answer, other)
    shown = radiance.clamp(0, 1) ** (1 / 2.2)

    def relit(camera):
        from tools.export.splats import render_splats

        return render_splats(splats, camera, shown)

    baked = round_trip(wanted, open_export(out, other))
    assert round_trip(wanted, relit).inside > baked.inside + 1, "relighting survives the export"


def test_a_page(avatar: Path, tmp_path: Path) -> None:
    out = tmp_path / "head.html"
    lines = run(avatar, "--format", "html", "--out", out, *SMALL, "--steps", 60, "--light", "60,20")
    assert psnr_of(lines) > 14  # an untrained head is fog, harder than skin; 60 steps
    text = out.read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert len(read_page(out).splats) > 100
    (tmp_path / "x.html").write_text("<html></html>")
    with pytest.raises(VrmmError, match="x.html is not a page"):
        read_page(tmp_path / "x.html")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "obj"], "--format obj is unknown; give glb, ply or html"),
        (["--format", "ply", "--expressions", "3"], "--expressions does nothing for --format ply; it is for glb"),
        (["--format", "glb", "--steps", "3"], "--steps does nothing for --format glb; it is for ply or html"),
        (["--format", "glb", "--size", "3"], "--size 3 is too small; use 32 or more"),
        (["--format", "glb", "--light", "sun"], "--light sun is no light; give photo, even, or AZIMUTH,ELEVATION"),
        (["--format", "glb", "--light", "nan,0"], "--light nan,0 is no light"),
    ],
)
def test_wrong_options_are_one_line(avatar: Path, tmp_path: Path, options: list[str], message: str) -> None:
    words = ["export", str(avatar), *options, "--out", str(tmp_path / "f")]
    result = CliRunner().invoke(build_app(COMMANDS, "export"), words)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "f").exists()


def test_no_avatar_another_version_and_no_place(avatar: Path, tmp_path: Path) -> None:
    def fail(folder: Path, out: Path) -> str:
        words = ["export", str(folder), "--format", "ply", "--out", str(out)]
        result = CliRunner().invoke(build_app(COMMANDS, "export"), words)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        return result.stderr

    assert "is not an avatar" in fail(tmp_path / "nobody", tmp_path / "f.ply")
    old = tmp_path / "old"
    old.mkdir()
    description = json.loads((avatar / "avatar.json").read_text())
    (old / "avatar.json").write_text(json.dumps({**description, "version": 99}))
    assert "is of version 99; this vrmm reads 1" in fail(old, tmp_path / "f.ply")
    assert "is a folder; name a file" in fail(avatar, tmp_path)
    (tmp_path / "file").touch()
    assert "cannot write" in fail(avatar, tmp_path / "file" / "f.ply")


def test_only_linear_light_can_be_exported() -> None:
    import dataclasses

    model = VRMM(dataclasses.replace(CONFIG, linear_light=False), ellipsoid_template(), ("a",))
    loaded = avatar_of(model.requires_grad_(False))
    with pytest.raises(VrmmError, match="linear_light=false"):
        Source.of_avatar(loaded, chosen_light(loaded, "photo"))


def test_lights_have_the_power_of_the_photos() -> None:
    loaded = avatar_of(tiny_model().requires_grad_(False))
    photo = chosen_light(loaded, "photo")
    for name in ("even", "40,20"):
        torch.testing.assert_close(chosen_light(loaded, name).sum(dim=0), photo.sum(dim=0))
    left = chosen_light(loaded, "90,0").sum(dim=1) @ loaded.model.light_sphere.directions
    assert left[0] > 2 * left[1:].abs().max(), "positive azimuths are to the left of the face, which is +x"


def test_expressions_move_the_mesh_as_the_code_does() -> None:
    """The first direction moves most; the offset of the surface goes with the base mesh."""
    loaded = avatar_of(tiny_model().requires_grad_(False))
    source = Source.of_avatar(loaded, chosen_light(loaded, "photo"))
    expressions = leading_expressions(source, 3, None)
    decoder = source.model.mesh_decoder
    moves = [
        (decoder(source.z_id, source.z_e + e.offset) - decoder(source.z_id, source.z_e - e.offset))[0] / 2
        for e in expressions
    ]
    sizes = [float(move.norm()) for move in moves]
    assert sizes == sorted(sizes, reverse=True)
    assert [e.name[:13] for e in expressions] == ["expression_01", "expression_02", "expression_03"]
    mesh = source.fine_mesh(700)
    offset = surface_offset(source, mesh, expressions[0], 0.0)
    base = mesh.points(moves[0].numpy())
    cosine = (offset * base).sum() / (np.linalg.norm(offset) * np.linalg.norm(base))
    assert cosine > 0.7  # only the part along the normals, and the opacity changes, too


def test_errors_add_up() -> None:
    lost = RoundTrip(psnr=20.0, worst=20.0, inside=30.0, views=1, size=8)
    assert lost.loss(30.0) == pytest.approx(3.01, abs=0.01)
    assert lost.loss(10.0) == pytest.approx(0.043, abs=0.001)


def test_settings_are_checked() -> None:
    with pytest.raises(VrmmError, match="--views 1 is too small; use 4 or more"):
        ExportSettings(views=1)
