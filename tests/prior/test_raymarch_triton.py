"""The Triton kernels of ``raymarch`` against the float64 reference: on a GPU, or in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, and is slow, so the scenes are small.
``tests/integration/test_raymarch_without_a_gpu.py`` runs this file once more in a process that has chosen it.
"""

import importlib.util
import math
import os

import pytest
import torch

from datasets.errors import VrmmError
from prior.raymarch import api, available_backends, raymarch, triton
from prior.raymarch.scene import Scene
from tests.prior.raymarch_scenes import DIFFERENTIATED, as_type, axis_ray, boxes, dense, random_scene

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
FEW = {"height": 4, "width": 4, "primitives": 2, "steps": 8}
FADE = {"fade_scale": 8.0, "fade_exponent": 8.0}

marches = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not (INTERPRETED or torch.cuda.is_available()),
    reason="no GPU; the interpreter has a process of its own",
)


def on_device(scene):
    return {name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for name, value in scene.items()}


def march(scene, upstream=None, **options):
    """rgba [B,R,4] and the gradients of sum(rgba * upstream) by name, in float64 on the CPU."""
    scene = on_device(scene)
    leaves = {name: scene[name].detach().clone().requires_grad_(upstream is not None) for name in DIFFERENTIATED}
    rgba = raymarch(**{**scene, **leaves}, **options)
    if upstream is None:
        return rgba.double().cpu()
    gradients = torch.autograd.grad(rgba, tuple(leaves.values()), upstream.to(rgba))
    return rgba.detach().double().cpu(), {n: g.double().cpu() for n, g in zip(leaves, gradients, strict=True)}


def assert_agrees(scene, *, value=3e-5, gradient=1e-4, **options):
    """Values within ``value``, gradients within ``gradient`` of their norm; rays on a knife's edge left out."""
    fade = {name: options[name] for name in ("fade_scale", "fade_exponent") if name in options}
    expected, fragile = dense(scene, **fade)
    assert fragile.float().mean() < 0.2
    generator = torch.Generator().manual_seed(7)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    upstream = upstream.masked_fill(fragile[..., None], 0.0)
    _, exact = march(as_type(scene, torch.float64), upstream, backend="reference", **fade)
    found, gradients = march(scene, upstream, backend="triton", **options)
    torch.testing.assert_close(found[~fragile], expected[~fragile], rtol=value, atol=value)
    for name, exact_gradient in exact.items():
        error = (gradients[name] - exact_gradient).norm()
        assert error <= gradient * exact_gradient.norm() + 1e-6 * upstream.abs().max(), name
    return expected[..., 3]


@marches
@pytest.mark.parametrize(("opacity", "size"), [(0.5, (4, 3, 5)), (15.0, (2, 2, 2)), (200.0, (3, 4, 2))], ids=str)
def test_values_and_all_gradients(opacity, size):
    alpha = assert_agrees(random_scene(1, **FEW, size=size, opacity=opacity, spread=0.06), image_shape=(4, 4))
    assert (alpha == 0).any()
    assert (alpha >= 1).any() == (opacity > 1)


@marches
@pytest.mark.parametrize("exponent", [1.0, 4.5])
def test_any_fade(exponent):
    assert_agrees(random_scene(2, **FEW, images=1), fade_scale=2.5, fade_exponent=exponent)


@marches
@pytest.mark.parametrize("image", [True, False], ids=["image", "rays"])
def test_several_tiles_with_lanes_to_spare(image):
    scene = random_scene(3, height=9, width=9, primitives=2, steps=4, opacity=20, scatter=not image)
    alpha = assert_agrees(scene, image_shape=(9, 9) if image else None)
    assert (alpha >= 1).any()


@marches
def test_more_boxes_than_are_looked_at_together_add_in_ascending_index():
    """40 boxes at one place, of which the 36th fills the ray: seen 32 at a time."""
    scene = {**axis_ray(start=0.0, length=0.0), **boxes(40, opacity=1 / 35.5), "step_size": 1.0}
    scene["voxels"][..., :3] = torch.rand(1, 40, 1, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    alpha = assert_agrees(as_type(scene, torch.float32))
    assert alpha.item() == 1.0


@marches
def test_a_box_left_and_another_entered_later():
    """Steps between boxes are passed over, and a box that ends is not met again."""
    scene = {**axis_ray(start=-1.003, length=2.0), **boxes(3, half_size=0.1, opacity=2.0, size=(3, 3, 3))}
    scene["center"][0, :, 2] = torch.tensor([0.7, -0.6, 0.65])
    scene["voxels"] *= torch.rand(scene["voxels"].shape, generator=torch.Generator().manual_seed(0))
    alpha = assert_agrees(as_type({**scene, "step_size": 0.04}, torch.float32))
    assert 0.1 < alpha.item() < 1


@marches
@pytest.mark.parametrize("opacity", [0.75, 0.5], ids=["cut", "exactly full"])
def test_gradients_at_saturation(opacity):
    """Two boxes: the second fills what the first leaves, so only the first one's opacity counts, against it."""
    scene = {**axis_ray(start=0.0, length=0.0), **boxes(3, opacity=opacity), "step_size": 1.0}
    scene["voxels"][..., :3] = torch.tensor([[1.0, 2, 3], [10, 20, 30], [5, 5, 5]])[None, :, None, None, None, :]
    upstream = torch.tensor([[[1.0, 0.1, 0.0, 7.0]]])
    rgba, gradients = march(as_type(scene, torch.float32), upstream, backend="triton")
    left = 1.0 - opacity
    assert rgba[0, 0].tolist() == pytest.approx([opacity + 10 * left, 2 * opacity + 20 * left, 3 + 27 * left, 1.0])
    total = gradients["voxels"].sum(dim=(2, 3, 4))[0]
    assert total[0].tolist() == pytest.approx([opacity, 0.1 * opacity, 0.0, (1 - 10) + 0.1 * (2 - 20)], rel=1e-5)
    assert total[1].tolist() == pytest.approx([left, 0.1 * left, 0.0, 0.0], rel=1e-5)
    assert not total[2].any()


@marches
def test_a_ray_that_misses_is_black_and_moves_nothing():
    scene = as_type({**axis_ray(at=(0.51, 0.0)), **boxes(), "step_size": 0.1}, torch.float32)
    rgba, gradients = march(scene, torch.ones(1, 1, 4), backend="triton")
    assert not rgba.any()
    assert not any(gradient.any() for gradient in gradients.values())


@marches
@pytest.mark.parametrize(("images", "rays", "primitives"), [(2, 0, 3), (2, 4, 0), (0, 4, 3)])
def test_nothing_to_do_is_no_error(images, rays, primitives):
    scene = random_scene(0, height=1, width=rays, primitives=primitives)
    scene = {name: value[:images] if isinstance(value, torch.Tensor) else value for name, value in scene.items()}
    rgba, gradients = march(scene, torch.ones(images, rays, 4), backend="triton")
    assert rgba.shape == (images, rays, 4)
    assert not rgba.any()
    assert not any(gradient.any() for gradient in gradients.values())


@marches
def test_a_damaged_voxel_is_seen_in_the_image():
    scene = as_type({**axis_ray(), **boxes(2), "step_size": 0.3}, torch.float32)
    for channel, poisoned in ((0, [True, False, False, False]), (3, [True] * 4)):
        voxels = scene["voxels"].clone()
        voxels[0, 1, ..., channel] = math.nan
        rgba = march({**scene, "voxels": voxels}, backend="triton")
        assert rgba.isnan()[0, 0].tolist() == poisoned


@marches
def test_far_cameras_and_far_boxes_are_not_lost():
    """Culling must err on the safe side at 100 m, where float32 knows positions to 4 µm."""
    scene = as_type(random_scene(8, **FEW), torch.float64)
    scene["near_far"] = scene["near_far"] + 99.0
    scene["ray_origin"] = scene["ray_origin"] - 99.0 * scene["ray_direction"]
    scene = as_type(scene, torch.float32)
    expected, fragile = dense(scene)
    # Positions move by 4 µm in boxes of 10 cm, and values change across a voxel of 4 cm.
    torch.testing.assert_close(march(scene, backend="triton")[~fragile], expected[~fragile], rtol=1e-3, atol=1e-3)


@marches
def test_no_sample_is_culled_and_most_others_are():
    from prior.raymarch.triton_culling import find_hits

    scene = as_type(random_scene(4, images=1, height=16, width=16, primitives=12, steps=10), torch.float64)
    scene |= {"center": 1.5 * scene["center"], "half_size": 0.5 * scene["half_size"]}
    inputs = Scene(**on_device(as_type(scene, torch.float32)), **FADE, image_shape=(16, 16))
    tiles = triton._Tiles(inputs)
    pose = triton._pose(inputs.center, inputs.rotation, inputs.half_size)
    hits = find_hits(tiles.rays, tiles.count, pose, inputs.step_size)
    met = torch.zeros(4, 12, 11, dtype=torch.bool)
    for tile, box, first, last in zip(*(column.tolist() for column in hits[1:]), strict=True):
        met[tile, box, first : last + 1] = True
    step = torch.arange(11)
    t = scene["near_far"][0, :, :1] + step * scene["step_size"]
    x = scene["ray_origin"][0, :, None] + t[..., None] * scene["ray_direction"][0, :, None]
    offset = x[:, :, None] - scene["center"][0]
    y = torch.einsum("rska,kab->rskb", offset, scene["rotation"][0]) / scene["half_size"][0]
    counts = step <= inputs.last_step()[0, :, None].cpu()
    inside = ((y.abs() <= 1).all(-1) & counts[..., None]).view(2, 8, 2, 8, 11, 12)
    truth = inside.any(3).any(1).view(4, 11, 12).transpose(1, 2)
    assert truth.sum() > 30
    assert not (truth & ~met).any()
    # A step more at either end of a box is the price of testing with slabs.
    assert met.sum() <= 2 * truth.sum()
    assert hits.start.tolist() == [int((hits.tile < tile).sum()) for tile in range(5)]


@marches
def test_a_damaged_upstream_gradient_spoils_only_what_its_ray_meets():
    scene = {**axis_ray(start=-0.1, length=0.2), **boxes(2, half_size=0.2), "step_size": 0.1}
    scene["ray_origin"] = torch.tensor([[[-0.5, 0.0, -0.1], [0.5, 0.0, -0.1]]])
    scene |= {name: scene[name].expand(1, 2, -1) for name in ("ray_direction", "near_far")}
    scene["center"][0, :, 0] = torch.tensor([-0.5, 0.4])
    upstream = torch.ones(1, 2, 4)
    upstream[0, 0] = math.nan
    _, gradients = march(as_type(scene, torch.float32), upstream, backend="triton")
    for name, gradient in gradients.items():
        assert gradient[0, 0].isnan().any(), name
        assert gradient[0, 1].isfinite().all(), name
        assert gradient[0, 1].any(), name


@marches
def test_memory_layout_does_not_matter():
    scene = on_device(random_scene(5, **FEW, images=1))
    scattered = {
        name: torch.stack([value] * 2, -1)[..., 0] if isinstance(value, torch.Tensor) else value
        for name, value in scene.items()
    }
    assert not scattered["voxels"].is_contiguous()
    rgba = raymarch(**scene, backend="triton")
    assert rgba.any()
    assert torch.equal(raymarch(**scattered, backend="triton"), rgba)


@marches
def test_changes_in_place_before_the_backward_pass_are_noticed():
    scene = on_device(random_scene(9, **FEW, images=1))
    held = scene["voxels"].clone().requires_grad_() * 1.0
    rgba = raymarch(**{**scene, "voxels": held}, backend="triton")
    with torch.no_grad():
        held.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rgba.sum().backward()


@marches
def test_what_the_kernels_do_not_take_is_refused():
    assert "triton" in available_backends()
    assert "triton" not in available_backends("cpu")
    with pytest.raises(VrmmError, match=r"takes float32 on CUDA, not torch.float64 on .*; convert the inputs"):
        raymarch(**on_device(as_type(random_scene(), torch.float64)), backend="triton")


@marches
@pytest.mark.skipif(INTERPRETED, reason="auto takes a CPU to its own kernel")
def test_auto_takes_float32_on_a_gpu_to_the_kernel():
    scene = random_scene(6, height=40, width=33, primitives=64, size=(8, 8, 8), opacity=20)
    assert_agrees(scene, image_shape=(40, 33))
    assert torch.equal(march(scene, backend="auto"), march(scene, backend="triton"))


@pytest.fixture(params=["no triton", "no GPU"])
def unusable(request, monkeypatch):
    """A machine without the one or the other, for a process that has not asked yet."""
    if request.param == "no triton":
        monkeypatch.setattr(triton.importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(triton.importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(triton, "_interpreted", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for answer in (triton.problem, api._warn_once):
        answer.cache_clear()
    yield {"no triton": "triton is not installed", "no GPU": "PyTorch finds no CUDA device"}[request.param]
    for answer in (triton.problem, api._warn_once):
        answer.cache_clear()


def test_where_it_cannot_work_it_says_so_with_the_way_out(unusable):
    assert "triton" not in available_backends()
    with pytest.raises(VrmmError, match=unusable) as caught:
        raymarch(**random_scene(), backend="triton")
    assert 'pip install "vrmm[gpu]"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_it_cannot_work_auto_warns_once_and_takes_the_reference(unusable):
    """On tensors that only pretend to be on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    scene = object.__new__(Scene)
    with FakeTensorMode():
        object.__setattr__(scene, "voxels", torch.empty(1, device="cuda"))
    with pytest.warns(RuntimeWarning, match=f"slow reference backend because {unusable}") as caught:
        assert api._automatic(scene) is api._automatic(scene) is api._BACKENDS["reference"]
    assert len(caught) == 1
