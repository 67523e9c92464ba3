"""The C++ kernel of ``raymarch`` against the float64 reference: values, gradients, threads, memory."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prior.raymarch import available_backends, raymarch
from tests.prior.raymarch_scenes import as_type, dense, random_scene, render_and_differentiate

pytestmark = pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler")


def upstream_of(scene, fragile=None):
    rays = scene["ray_origin"].shape[:2]
    upstream = torch.randn(*rays, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return upstream if fragile is None else upstream.masked_fill(fragile[..., None], 0.0)


def assert_agrees(scene, *, value=3e-5, gradient=1e-4, **options):
    """Values within ``value``, gradients within ``gradient`` of their norm; rays on a knife's edge left out."""
    fade = {name: options[name] for name in ("fade_scale", "fade_exponent") if name in options}
    _, fragile = dense(scene, **fade)
    upstream = upstream_of(scene, fragile)
    expected, exact = render_and_differentiate(as_type(scene, torch.float64), upstream, "reference", **fade)
    found, gradients = render_and_differentiate(scene, upstream, "cpu", **options)
    torch.testing.assert_close(found[~fragile].double(), expected[~fragile], rtol=value, atol=value)
    for name, exact_gradient in exact.items():
        error = (gradients[name] - exact_gradient).norm()
        assert error <= gradient * exact_gradient.norm() + 1e-6 * upstream.abs().max(), name
    return fragile


@pytest.mark.parametrize("opacity", [0.5, 8.0, 60.0, 1000.0])
@pytest.mark.parametrize("size", [(8, 8, 8), (4, 3, 5), (2, 2, 2)], ids=str)
def test_values_and_all_gradients(opacity, size):
    scene = random_scene(1, height=17, width=14, primitives=24, size=size, opacity=opacity)
    fragile = assert_agrees(scene, image_shape=(17, 14))
    assert fragile.float().mean() < 0.1


@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.5, 8.0, 12.0])
def test_any_fade(exponent):
    assert_agrees(random_scene(2, height=9, width=9), fade_scale=2.5, fade_exponent=exponent)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(1, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    primitives=st.integers(1, 9),
    size=st.tuples(*[st.integers(2, 5)] * 3),
    opacity=st.sampled_from([1.0, 6.0, 30.0, 200.0]),
    steps=st.integers(1, 40),
    scatter=st.booleans(),
    image=st.booleans(),
)
def test_random_scenes(seed, images, height, width, primitives, size, opacity, steps, scatter, image):
    scene = random_scene(
        seed,
        images=images,
        height=height,
        width=width,
        primitives=primitives,
        size=size,
        opacity=opacity,
        steps=steps,
        scatter=scatter,
    )
    assert_agrees(scene, image_shape=(height, width) if image else None)


@pytest.mark.parametrize("image", [True, False], ids=["image", "rays"])
def test_any_number_of_threads_gives_the_same_bits(image):
    scene = random_scene(3, height=37, width=30, primitives=40, opacity=20, size=(8, 8, 8))
    options = {"image_shape": (37, 30)} if image else {}
    answers = []
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            rgba, gradients = render_and_differentiate(scene, upstream_of(scene), "cpu", **options)
            answers.append({"rgba": rgba, **gradients})
    finally:
        torch.set_num_threads(1)
    for answer in answers[1:]:
        for name, value in answer.items():
            assert torch.equal(value, answers[0][name]), name


@pytest.mark.parametrize("shape", [(33, 26), (26, 33), (1, 858), (858, 1)], ids=str)
def test_the_shape_of_the_image_changes_no_value(shape):
    """Tiles are only for speed. Sums over rays are rounded in another order, so gradients agree to rounding."""
    scene = random_scene(4, height=33, width=26, opacity=20)
    rgba, gradients = render_and_differentiate(scene, upstream_of(scene), "cpu")
    other, other_gradients = render_and_differentiate(scene, upstream_of(scene), "cpu", image_shape=shape)
    assert torch.equal(rgba, other)
    for name, value in gradients.items():
        assert (value - other_gradients[name]).norm() <= 1e-5 * value.norm(), name


def test_memory_layout_does_not_matter():
    scene = random_scene(5)
    scattered = {}
    for name, value in scene.items():
        if isinstance(value, torch.Tensor):
            wide = torch.zeros(*value.shape[:-1], 2 * value.shape[-1])
            wide[..., ::2] = value
            value = wide[..., ::2]
            assert not value.is_contiguous()
        scattered[name] = value
    assert torch.equal(raymarch(**scattered, backend="cpu"), raymarch(**scene, backend="cpu"))
    upstream = upstream_of(scene)
    expected = render_and_differentiate(scene, upstream, "cpu")[1]
    leaf = scattered["voxels"].detach().requires_grad_()
    rgba = raymarch(**{**scattered, "voxels": leaf}, backend="cpu")
    strided = torch.stack([upstream.float()] * 2, -1)[..., 0]
    assert torch.equal(torch.autograd.grad(rgba, leaf, strided)[0], expected["voxels"])


def test_rendering_without_gradients_gives_the_same_bits():
    scene = random_scene(6, opacity=20)
    with_gradients, _ = render_and_differentiate(scene, upstream_of(scene), "cpu")
    assert torch.equal(raymarch(**scene, backend="cpu"), with_gradients)
    with torch.no_grad():
        leaves = {**scene, "voxels": scene["voxels"].clone().requires_grad_()}
        rgba = raymarch(**leaves, backend="cpu")
    assert torch.equal(rgba, with_gradients)
    assert not rgba.requires_grad


def test_far_cameras_and_far_boxes_are_not_lost():
    """Culling must err on the safe side at 100 m, where float32 knows positions to 4 µm."""
    scene = as_type(random_scene(8, height=8, width=8), torch.float64)
    scene["near_far"] = scene["near_far"] + 99.0
    scene["ray_origin"] = scene["ray_origin"] - 99.0 * scene["ray_direction"]
    scene = as_type(scene, torch.float32)
    expected, fragile = dense(scene)
    found = raymarch(**scene, backend="cpu")
    # Positions move by 4 µm in boxes of 10 cm, and values change across a voxel of 4 cm.
    torch.testing.assert_close(found[~fragile].double(), expected[~fragile], rtol=1e-3, atol=1e-3)


def test_a_second_backward_pass_and_changes_in_place():
    scene = random_scene(9)
    voxels = scene["voxels"].clone().requires_grad_()
    held = voxels * 1.0
    rgba = raymarch(**{**scene, "voxels": held}, backend="cpu")
    (first,) = torch.autograd.grad(rgba.sum(), voxels, retain_graph=True)
    (second,) = torch.autograd.grad(rgba.sum(), voxels, retain_graph=True)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    with torch.no_grad():
        held.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rgba.sum().backward()


def test_gradients_stay_untouched_while_someone_holds_them():
    """The memory of a gradient is used again, but never while a tensor, a view or a leaf refers to it."""
    scene = random_scene(10, size=(8, 8, 8))

    def gradient(scale):
        voxels = scene["voxels"].clone().requires_grad_()
        raymarch(**{**scene, "voxels": voxels}, backend="cpu").mul(scale).sum().backward()
        return voxels.grad

    first = gradient(1.0)
    view = first[1, 2].flatten()
    copy = first.clone()
    for scale in (2.0, 3.0, 4.0):
        gradient(scale)
    assert torch.equal(first, copy)
    del first
    gc.collect()
    gradient(5.0)
    gradient(6.0)
    assert torch.equal(view, copy[1, 2].flatten())
