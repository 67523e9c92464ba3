"""Splats: the reference renderer against analysis, the fit, and files of them."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from prior.lighting import fibonacci_directions
from tests.fitting.tiny import cameras
from tools.export.basis import read_basis, write_basis
from tools.export.ply import AXES, PROPERTIES, read_ply, write_ply
from tools.export.response import Response
from tools.export.splat_fit import fit_splats, narrowest_splat
from tools.export.splats import (
    LOW_PASS,
    Splats,
    footprint_weights,
    harmonic_basis,
    render_splats,
    rotation_matrix,
    splat_footprint,
)


def some_splats(count: int = 12, seed: int = 0) -> Splats:
    """Splats of many shapes around the origin, a few centimetres large."""
    generator = torch.Generator().manual_seed(seed)
    return Splats(
        center=0.05 * torch.randn(count, 3, generator=generator),
        normal=torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1),
        rotation=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        scale=0.004 + 0.02 * torch.rand(count, 3, generator=generator),
        opacity=0.2 + 0.7 * torch.rand(count, generator=generator),
        harmonics=0.15 * torch.randn(count, 16, 3, generator=generator),
    )


def test_harmonics_are_orthonormal() -> None:
    directions = torch.tensor(fibonacci_directions(20000))
    basis = harmonic_basis(directions)
    gram = basis.T @ basis * (4 * math.pi / len(directions))
    # Quadrature over 20000 nearly uniform points.
    torch.testing.assert_close(gram, torch.eye(16, dtype=gram.dtype), atol=2e-3, rtol=0)


def test_one_splat_is_a_gaussian_on_the_screen() -> None:
    """A round splat in the middle: its peak is its opacity, and its width that of the lens times its scale."""
    splat = dataclasses.replace(
        some_splats(1), center=torch.zeros(1, 3), scale=torch.full((1, 3), 0.02), opacity=torch.tensor([0.8])
    )
    camera = cameras((0.0,), size=33)
    _, alpha = render_splats(splat, camera)
    assert float(alpha[0, 16, 16]) == pytest.approx(0.8, abs=1e-3)
    distance = float(camera.centers[0].norm())
    variance = (float(camera.intrinsics[0, 0, 0]) * 0.02 / distance) ** 2 + LOW_PASS
    for offset in (2, 5):
        wanted = 0.8 * math.exp(-(offset**2) / (2 * variance))
        # The camera stands 0.05 m above the axis it looks along: a hair of perspective.
        assert float(alpha[0, 16, 16 + offset]) == pytest.approx(wanted, rel=0.01)


def test_the_nearer_splat_covers_the_farther() -> None:
    two = dataclasses.replace(
        some_splats(2),
        center=torch.tensor([[0.0, 0.0, -0.05], [0.0, 0.0, 0.05]]),
        scale=torch.full((2, 3), 0.03),
        opacity=torch.tensor([0.6, 0.7]),
        harmonics=torch.cat([torch.full((2, 1, 3), -0.5 / 0.28209479), torch.zeros(2, 15, 3)], dim=1),
    )
    two.harmonics[1, 0, 0] = 0.5 / 0.28209479  # the nearer one is red, the farther one black
    picture, alpha = render_splats(two, cameras((0.0,), size=33))
    assert float(picture[0, 16, 16]) == pytest.approx(0.7, abs=5e-3)
    assert float(alpha[0, 16, 16]) == pytest.approx(1 - 0.3 * 0.4, abs=5e-3)
    behind, _ = render_splats(two, cameras((180.0,), size=33))
    assert float(behind[0, 16, 16]) == pytest.approx(0.7 * 0.4, abs=5e-3)


def test_gradients_of_the_footprint() -> None:
    """Against central differences of the weights; the fit follows these."""
    splats, camera = some_splats(6), cameras((20.0,), size=24)
    footprint = splat_footprint(splats, camera)
    assert len(footprint.weight) > 50
    torch.testing.assert_close(footprint_weights(footprint, splats, camera), footprint.weight, atol=1e-6, rtol=1e-4)
    probe = torch.randn(len(footprint.weight), generator=torch.Generator().manual_seed(1))
    for name, step in (("center", 2e-5), ("scale", 2e-5), ("opacity", 1e-3)):
        value = getattr(splats, name).clone().requires_grad_()
        total = (footprint_weights(footprint, dataclasses.replace(splats, **{name: value}), camera) * probe).sum()
        (gradient,) = torch.autograd.grad(total, value)
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
        ends = [
            (
                footprint_weights(
                    footprint, dataclasses.replace(splats, **{name: value.detach() + s * step * direction}), camera
                ).double()
                * probe
            ).sum()
            for s in (1, -1)
        ]
        # float32 weights over a small step
        assert float((gradient * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.03)


def test_the_fit_finds_what_was_photographed() -> None:
    """Splats that were moved, thinned and recoloured come back to the pictures of the originals."""
    truth, views = some_splats(20), cameras((0.0, 50.0, 100.0, 180.0, 270.0), size=32)
    shown = [render_splats(truth, _one(views, view)) for view in range(5)]
    pictures, alphas = torch.stack([found[0] for found in shown]), torch.stack([found[1] for found in shown])
    generator = torch.Generator().manual_seed(4)
    moved = dataclasses.replace(
        truth,
        center=truth.center + 0.004 * torch.randn(20, 3, generator=generator),
        opacity=torch.full((20,), 0.5),
        scale=truth.scale * 1.3,
        harmonics=torch.zeros_like(truth.harmonics),
    )
    counted: list[int] = []

    def counter(done: int, total: int) -> None:
        counted.append(done)

    found = fit_splats(moved, views, pictures, alphas, steps=120, narrowest=1e-3, progress=counter)
    assert counted == list(range(1, 121))

    def error(splats: Splats) -> float:
        return float(
            torch.stack(
                [((render_splats(splats, _one(views, v))[0] - pictures[v]) ** 2).mean() for v in range(5)]
            ).mean()
        )

    assert error(found) < 0.1 * error(moved)
    torch.testing.assert_close(found.rotation, truth.rotation)


def test_a_wall_has_no_gaps_from_nearer() -> None:
    """Points a pixel apart look like a wall in the pictures, whatever their size: viewers widen them to a pixel."""
    views = cameras((0.0,), size=32)
    pixel = float(views.centers[0].norm() / views.intrinsics[0, 0, 0])
    across, up = torch.meshgrid(torch.arange(-8.0, 9.0), torch.arange(-8.0, 9.0), indexing="ij")
    place = pixel * torch.stack([across, up, torch.zeros_like(up)], dim=-1).reshape(-1, 3)
    count = len(place)
    points = Splats(
        center=place,
        normal=torch.tensor([0.0, 0.0, 1.0]).expand(count, 3),
        rotation=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4),
        scale=torch.full((count, 3), 0.05 * pixel),
        opacity=torch.full((count,), 0.9),
        harmonics=torch.zeros(count, 16, 3),
    )
    wall = torch.zeros(1, 1, 32, 32)
    wall[..., 8:24, 8:24] = 1.0
    found = fit_splats(
        points, views, 0.5 * wall.expand(1, 3, 32, 32), wall, steps=150, narrowest=narrowest_splat(place)
    )
    near = cameras((0.0,), size=128)
    assert float(render_splats(points, near)[1][0, 40:88, 40:88].min()) < 0.5
    assert float(render_splats(found, near)[1][0, 40:88, 40:88].min()) > 0.9


def _one(batch, view: int):
    return dataclasses.replace(
        batch, world_to_camera=batch.world_to_camera[view : view + 1], intrinsics=batch.intrinsics[view : view + 1]
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 9))
def test_ply_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    splats = some_splats(count, seed)
    path = tmp_path_factory.mktemp("ply") / "head.ply"
    write_ply(path, splats)
    found = read_ply(path)
    for name in ("center", "normal", "scale", "opacity", "harmonics"):
        torch.testing.assert_close(getattr(found, name), getattr(splats, name), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rotation_matrix(found.rotation), rotation_matrix(splats.rotation), atol=1e-5, rtol=1e-5)


def test_ply_as_another_program_reads_it(tmp_path: Path) -> None:
    """Columns as documented everywhere, in a frame with y down: the turned head seen by a turned camera is the same."""
    splats, path = some_splats(), tmp_path / "head.ply"
    write_ply(path, splats)
    head, _, body = path.read_bytes().partition(b"end_header\n")
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\n")
    table = np.frombuffer(body, np.dtype([(name, "<f4") for name in PROPERTIES]))
    assert len(table) == len(splats)
    np.testing.assert_allclose(table["y"], -splats.center[:, 1], atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-table["opacity"])), splats.opacity, atol=1e-5)
    rest = np.stack([table[f"f_rest_{i}"] for i in range(45)], axis=1).reshape(-1, 3, 15)
    plain = np.stack([table[f"f_dc_{i}"] for i in range(3)], axis=1)
    turned = Splats(
        center=torch.tensor(np.stack([table[name] for name in "xyz"], axis=1)),
        normal=splats.normal,
        rotation=torch.tensor(np.stack([table[f"rot_{i}"] for i in range(4)], axis=1)),
        scale=torch.tensor(np.exp(np.stack([table[f"scale_{i}"] for i in range(3)], axis=1))),
        opacity=splats.opacity,
        harmonics=torch.tensor(np.concatenate([plain[:, None], rest.transpose(0, 2, 1)], axis=1)),
    )
    camera = cameras((35.0,), size=24)
    half_turn = torch.diag(torch.tensor([*AXES, 1.0]))
    moved = dataclasses.replace(camera, world_to_camera=camera.world_to_camera @ half_turn)
    torch.testing.assert_close(render_splats(turned, moved)[0], render_splats(splats, camera)[0], atol=1e-4, rtol=1e-3)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n")
    with pytest.raises(VrmmError, match="x.ply is not a file of splats"):
        read_ply(path)
    with pytest.raises(VrmmError, match="x.ply is not a relighting basis"):
        read_basis(path)


def some_response(count: int = 5, lights: int = 7) -> Response:
    generator = torch.Generator().manual_seed(8)
    directions = torch.tensor(fibonacci_directions(10), dtype=torch.float32)
    return Response(
        gain=0.5 + torch.rand(count, 3, generator=generator),
        answer=torch.cat(
            [
                0.3 + torch.rand(count, 1, lights, generator=generator),
                0.1 * torch.randn(count, 3, lights, generator=generator),
            ],
            1,
        ),
        seen=torch.rand(10, count, generator=generator) + 0.1,
        directions=directions,
    )


def test_the_basis_relights_in_the_frame_of_the_splats(tmp_path: Path) -> None:
    """What docs/formats.md says about the file gives the response that was written, seen and lit from turned places."""
    response, toward = some_response(), torch.tensor(fibonacci_directions(7), dtype=torch.float32)
    light = torch.rand(7, 3)
    path = tmp_path / "head.relight.safetensors"
    write_basis(path, response, toward, light)
    basis = read_basis(path)
    torch.testing.assert_close(basis.directions, toward * torch.tensor(AXES))
    torch.testing.assert_close(basis.light, light)
    view = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, -0.8]]), dim=-1)
    terms = harmonic_basis(view * torch.tensor(AXES))[0, :4]
    found = basis.gain * torch.einsum("k,nkl,lc->nc", terms, basis.answer, light)
    torch.testing.assert_close(found, response.radiance(light, view)[0], rtol=5e-3, atol=5e-3)  # half precision
    torch.testing.assert_close(response.seen_from(light, view.expand(5, 3)), response.radiance(light, view)[0])


def test_a_matched_response_looks_like_the_splats() -> None:
    response, light = some_response(), 0.02 * torch.ones(7, 3)
    harmonics = torch.zeros(5, 16, 3)
    harmonics[:, 0] = torch.linspace(-0.4, 0.4, 15).reshape(5, 3) / 0.28209479
    matched = response.matched(harmonics, light)
    weight = response.seen / response.seen.sum(dim=0)
    found = (matched.radiance(light, -response.directions) * weight[:, :, None]).sum(dim=0)
    wanted = (torch.linspace(-0.4, 0.4, 15).reshape(5, 3) + 0.5) ** 2.2
    inside = (matched.gain / response.gain > 0.51) & (matched.gain / response.gain < 1.95)
    assert inside.any()
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-3, atol=1e-5)
