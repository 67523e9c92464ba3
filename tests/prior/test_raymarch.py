"""``raymarch``: its meaning on scenes with known answers, for every backend."""

import math

import pytest
import torch

from prior.raymarch import available_backends, raymarch
from tests.prior.raymarch_scenes import as_type, axis_ray, boxes, dense, random_scene

needs_compiler = pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler")
BACKENDS = [
    pytest.param("reference", torch.float64, id="reference-float64"),
    pytest.param("reference", torch.float32, id="reference-float32"),
    pytest.param("cpu", torch.float32, id="cpu", marks=needs_compiler),
]
every_backend = pytest.mark.parametrize(("backend", "dtype"), BACKENDS)


def render(backend, dtype, **scene):
    return raymarch(**as_type(scene, dtype), backend=backend)


def assert_near(found, expected, tolerance=2e-6):
    """2e-6: some ten roundings of float32 on values of about 1."""
    torch.testing.assert_close(found.double(), torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance)


@every_backend
def test_a_constant_box_without_fade(backend, dtype):
    """32 samples of opacity 0.5 / m, 1/32 m apart, lie in a box of 1 m."""
    scene = {**axis_ray(start=-1.0 + 1 / 64), **boxes(colour=(0.25, 0.5, 2.0), opacity=0.5), "step_size": 1 / 32}
    rgba = render(backend, dtype, **scene, fade_scale=0.0)
    assert_near(rgba[0, 0], [0.5 * 0.25, 0.5 * 0.5, 0.5 * 2.0, 0.5])


@every_backend
@pytest.mark.parametrize("exponent", [8.0, 2.0, 3.5, 1.0])
def test_fade_towards_the_faces(backend, dtype, exponent):
    scene = {**axis_ray(at=(0.3, -0.2)), **boxes(opacity=0.5), "step_size": 0.07}
    rgba = render(backend, dtype, **scene, fade_scale=3.0, fade_exponent=exponent)
    z = [-1.0 + 0.07 * i for i in range(29)]
    fade = [abs(0.6) ** exponent + abs(0.4) ** exponent + abs(v / 0.5) ** exponent for v in z if abs(v) <= 0.5]
    assert_near(rgba[0, 0, 3], sum(0.5 * 0.07 * math.exp(-3.0 * f) for f in fade))


@every_backend
def test_axes_of_the_voxels_and_align_corners(backend, dtype):
    """One sample a ray. Colours that are (x, y, z) in voxel indices come back as (y + 1) / 2 of the local point."""
    depth, height, width = 5, 3, 4
    index = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (depth, height, width)), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    local = 2 * torch.rand(1, 50, 3, generator=generator, dtype=torch.float64) - 1
    local[0, :4] = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [-1, 1, 0.5], [0, 0, 0]])
    scene = boxes(size=(depth, height, width))
    scene["voxels"][0, 0, ..., :3] = torch.stack([index[2], index[1], index[0]], -1)
    scene["rotation"][0, 0] = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # exact in every type
    scene["half_size"][0, 0] = torch.tensor([0.5, 0.25, 1.0])
    scene["center"][0, 0] = torch.tensor([1.0, 2.0, -1.0])
    point = scene["center"] + (local * scene["half_size"]) @ scene["rotation"][0, 0].T
    scene |= {
        "ray_origin": point.float().double(),
        "ray_direction": torch.tensor([1.0, 0, 0], dtype=torch.float64).expand(1, 50, 3),
        "near_far": torch.zeros(1, 50, 2, dtype=torch.float64),
        "step_size": 0.5,
    }
    inside = ((scene["ray_origin"] - scene["center"]) @ scene["rotation"][0, 0] / scene["half_size"]).abs() <= 1
    kept = inside.all(-1)
    rgba = render(backend, dtype, **scene, fade_scale=0.0)
    assert kept.sum() > 40
    assert_near(rgba[kept][:, 3], torch.full((int(kept.sum()),), 0.5))
    assert_near(rgba[kept][:, :3] / 0.5, (local[kept] + 1) / 2)


@every_backend
def test_the_last_sample_may_lie_at_far_and_the_first_lies_at_near(backend, dtype):
    scene = {**boxes(opacity=0.5), "step_size": 0.125}
    for length, samples in ((0.5, 5), (0.5 - 1e-3, 4), (0.0, 1), (0.124, 1), (0.125, 2)):
        ray = axis_ray(start=-0.25, length=length)
        rgba = render(backend, dtype, **ray, **scene, fade_scale=0.0)
        assert_near(rgba[0, 0, 3], samples * 0.5 * 0.125)


@every_backend
def test_a_ray_that_misses_is_black_and_moves_nothing(backend, dtype):
    scene = as_type({**axis_ray(at=(0.51, 0.0)), **boxes(), "step_size": 0.1}, dtype)
    leaves = {name: scene[name].requires_grad_() for name in ("center", "rotation", "half_size", "voxels")}
    rgba = raymarch(**scene, backend=backend)
    assert rgba.abs().max() == 0
    for gradient in torch.autograd.grad(rgba.sum(), tuple(leaves.values())):
        assert gradient.abs().max() == 0


@every_backend
@pytest.mark.parametrize(
    ("opacity", "weights"),
    [(0.25, [0.25, 0.25, 0.25]), (0.5, [0.5, 0.5, 0.0]), (0.75, [0.75, 0.25, 0.0]), (3.0, [1.0, 0.0, 0.0])],
    ids=["below", "exactly full", "cut", "first"],
)
def test_within_a_step_primitives_add_in_ascending_index_until_full(backend, dtype, opacity, weights):
    scene = {**axis_ray(start=0.0, length=0.0), **boxes(3, opacity=opacity), "step_size": 1.0}
    scene["voxels"][..., :3] = torch.eye(3)[None, :, None, None, None, :]
    rgba = render(backend, dtype, **scene)
    assert_near(rgba[0, 0], [*weights, sum(weights)])


@every_backend
@pytest.mark.parametrize("opacity", [0.75, 0.5], ids=["cut", "exactly full"])
def test_gradients_at_saturation(backend, dtype, opacity):
    """Two boxes: the second fills what the first leaves, so only the first one's opacity counts, against it."""
    scene = {**axis_ray(start=0.0, length=0.0), **boxes(3, opacity=opacity), "step_size": 1.0}
    scene["voxels"][..., :3] = torch.tensor([[1.0, 2, 3], [10, 20, 30], [5, 5, 5]])[None, :, None, None, None, :]
    scene = as_type(scene, dtype)
    voxels = scene["voxels"].requires_grad_()
    rgba = raymarch(**scene, backend=backend)
    (gradient,) = torch.autograd.grad((rgba * torch.tensor([1.0, 0.1, 0.0, 7.0])).sum(), voxels)
    total = gradient.sum(dim=(2, 3, 4))[0]
    left = 1.0 - opacity
    assert_near(total[0], [opacity, 0.1 * opacity, 0.0, (1.0 - 10.0) + 0.1 * (2.0 - 20.0)])
    assert_near(total[1], [left, 0.1 * left, 0.0, 0.0])
    assert_near(total[2], [0.0, 0.0, 0.0, 0.0])


@every_backend
def test_rays_do_not_know_of_each_other(backend, dtype):
    scene = as_type(random_scene(3, images=1, height=7, width=9, opacity=12), dtype)
    order = torch.randperm(63, generator=torch.Generator().manual_seed(0))
    shuffled = {**scene, **{name: scene[name][:, order] for name in ("ray_origin", "ray_direction", "near_far")}}
    assert torch.equal(raymarch(**shuffled, backend=backend), raymarch(**scene, backend=backend)[:, order])


@every_backend
def test_images_do_not_know_of_each_other(backend, dtype):
    scene = as_type(random_scene(4, images=3), dtype)
    together = raymarch(**scene, backend=backend)
    for image in range(3):
        alone = {n: v[image : image + 1] if isinstance(v, torch.Tensor) else v for n, v in scene.items()}
        assert torch.equal(raymarch(**alone, backend=backend), together[image : image + 1])


@every_backend
@pytest.mark.parametrize("opacity", [1.0, 10.0, 300.0])
def test_random_scenes_against_the_dense_table(backend, dtype, opacity):
    scene = random_scene(5, opacity=opacity, height=11, width=10)
    expected, fragile = dense(scene)
    assert fragile.float().mean() < 0.05
    found = render(backend, dtype, **scene)
    assert expected[..., 3].max() > 0.05
    # 3e-5: a sum of up to 100 samples in float32
    assert_near(found[~fragile], expected[~fragile], 1e-12 if dtype == torch.float64 else 3e-5)


@every_backend
@pytest.mark.parametrize(("images", "rays", "primitives"), [(2, 0, 3), (2, 4, 0), (0, 4, 3)])
def test_nothing_to_do_is_no_error(backend, dtype, images, rays, primitives):
    scene = as_type(random_scene(0, height=1, width=rays, primitives=primitives), dtype)
    scene = {name: value[:images] if isinstance(value, torch.Tensor) else value for name, value in scene.items()}
    rgba = raymarch(**scene, backend=backend)
    assert rgba.shape == (images, rays, 4)
    assert not rgba.any()


@every_backend
def test_a_damaged_voxel_is_seen_in_the_image(backend, dtype):
    scene = as_type({**axis_ray(), **boxes(2), "step_size": 0.1}, dtype)
    for channel, poisoned in ((0, [True, False, False, False]), (3, [True] * 4)):
        voxels = scene["voxels"].clone()
        voxels[0, 1, ..., channel] = math.nan
        rgba = raymarch(**{**scene, "voxels": voxels}, backend=backend)
        assert rgba.isnan()[0, 0].tolist() == poisoned


def test_reference_gradients_by_finite_differences():
    scene = as_type(
        random_scene(11, images=1, height=3, width=3, primitives=3, size=(2, 3, 2), opacity=15), torch.float64
    )
    _, fragile = dense(scene)
    assert not fragile.any()
    rays = {name: scene[name] for name in ("ray_origin", "ray_direction", "near_far", "step_size")}
    leaves = tuple(scene[name].requires_grad_() for name in ("center", "rotation", "half_size", "voxels"))

    def rgba(center, rotation, half_size, voxels):
        primitives = {"center": center, "rotation": rotation, "half_size": half_size, "voxels": voxels}
        return raymarch(**rays, **primitives, backend="reference")

    alpha = rgba(*leaves)[..., 3]
    assert (alpha >= 1).any()
    assert ((alpha > 0.01) & (alpha < 1)).any()
    assert torch.autograd.gradcheck(rgba, leaves, eps=1e-7, atol=1e-5, rtol=1e-4)
