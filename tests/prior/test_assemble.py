"""``assemble``: both backends against float64 and against a voxel computed by hand, gradients, threads, light."""

import pytest
import torch

from datasets.errors import VrmmError
from prior.assemble import api, assemble, available_backends, cpu
from prior.assemble.inputs import DIMENSIONS, checked_layout

SIZES = {
    "four texels": {},
    "one texel of many voxels": {"grid": 3, "texels": 1, "depth": 6, "block": 6},
    "sixteen texels": {"grid": 2, "texels": 4, "depth": 8, "block": 2, "V": 3},
    "odd everything": {"B": 1, "grid": 3, "texels": 1, "depth": 3, "block": 5, "V": 1, "Fo": 5, "Fg": 19, "M": 33},
    "one voxel a texel and layer": {"grid": 2, "texels": 3, "depth": 5, "block": 1, "Fo": 1, "Fg": 2, "M": 3},
    "layer of four in a row": {"B": 3, "grid": 2, "texels": 2, "depth": 3, "block": 4, "Fo": 16, "Fg": 48, "M": 64},
}
needs_compiler = pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler")


def make(seed=0, *, B=2, V=2, grid=4, texels=2, depth=4, block=2, Fo=8, Fg=12, M=10, dtype=torch.float32):
    """Random tensors of one call, as leaves that require gradients, and the call's numbers."""
    sizes = {"B": B, "V": V, "R": grid * texels, "N": depth * block**2, "Fo": Fo, "Fg": Fg, "M": M}
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, dimensions in DIMENSIONS.items():
        shape = [int(axis) if axis.isdigit() else sizes[axis] for axis in dimensions.strip("[]").split(",")]
        scale = 3.0 / shape[-1] ** 0.5 if "weight" in name else 1.0
        value = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        tensors[name] = value.to(dtype).requires_grad_()
    return tensors, {"grid": grid, "depth": depth, "density": 100.0}


def values_and_gradients(tensors, numbers, backend):
    voxels = assemble(**tensors, **numbers, backend=backend)
    upstream = torch.randn(voxels.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    gradients = torch.autograd.grad(voxels, list(tensors.values()), upstream.to(voxels.dtype))
    return {"voxels": voxels.detach(), **dict(zip(tensors, gradients, strict=True))}


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpu", marks=needs_compiler)])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_values_and_gradients_agree_with_float64(sizes, backend):
    tensors, numbers = make(**sizes)
    exact_inputs = {name: tensor.detach().double().requires_grad_() for name, tensor in tensors.items()}
    exact = values_and_gradients(exact_inputs, numbers, "reference")
    for name, value in values_and_gradients(tensors, numbers, backend).items():
        # float32 sums of up to some thousand terms
        assert (value - exact[name]).norm() <= 1e-5 * exact[name].norm(), name
        assert (value - exact[name]).abs().max() <= 1e-5 * exact[name].abs().max(), name


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpu", marks=needs_compiler)])
def test_one_voxel_by_hand(backend):
    """Texel (y, x) answers for voxel (d, h, w) of its block, in the primitive that covers it."""
    tensors, numbers = make(V=2, grid=2, texels=2, depth=3, block=2)
    voxels = assemble(**tensors, **numbers, backend=backend)
    image, view, y, x, d, h, w = 1, 1, 3, 1, 2, 1, 0
    n = (d * 2 + h) * 2 + w
    t = {name: tensor.detach() for name, tensor in tensors.items()}
    opacity = t["opacity_features"][image, y, x] @ t["opacity_weight"][n] + t["opacity_bias"][y, x, n]
    gain = t["gain_weight"][:, n] @ t["gain_features"][image, y, x] + t["gain_bias"][y, x, :, n]
    shading = (t["light"][image, :, y, x] * t["gate"][image, y, x, view]) @ t["shading_weight"][n]
    expected = torch.cat([torch.log1p(gain.exp()) * shading, 100.0 * torch.log1p(opacity.exp())[None]])
    primitive = (y // 2) * 2 + x // 2
    found = voxels[image, view, primitive, d, (y % 2) * 2 + h, (x % 2) * 2 + w]
    torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-6)


def test_reference_gradients_by_finite_differences():
    tensors, numbers = make(B=1, V=2, grid=1, texels=2, depth=2, block=1, Fo=2, Fg=2, M=2, dtype=torch.float64)
    numbers["density"] = 2.0
    inputs = tuple(tensors.values())

    def voxels(*values):
        return assemble(*values, **numbers, backend="reference")

    assert torch.autograd.gradcheck(voxels, inputs)


@needs_compiler
@pytest.mark.parametrize("sizes", [{"grid": 8, "block": 4, "depth": 8}, {"grid": 5, "texels": 1}], ids=["even", "odd"])
def test_any_number_of_threads_gives_the_same_bits(sizes):
    tensors, numbers = make(**sizes)
    try:
        answers = []
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            answers.append(values_and_gradients(tensors, numbers, "cpu"))
    finally:
        torch.set_num_threads(1)
    for answer in answers[1:]:
        for name, value in answer.items():
            assert torch.equal(value, answers[0][name]), name


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpu", marks=needs_compiler)])
def test_colour_is_linear_in_the_light_and_opacity_ignores_it(backend):
    tensors, numbers = make()
    other = make(seed=1)[0]["light"].detach()

    def under(light):
        return assemble(**{**tensors, "light": light}, **numbers, backend=backend).detach()

    one, two = under(tensors["light"]), under(other)
    both = under(0.5 * tensors["light"] + 3.0 * other)
    expected = 0.5 * one[..., :3] + 3.0 * two[..., :3]
    assert (both[..., :3] - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert torch.equal(under(4.0 * tensors["light"])[..., :3], 4.0 * one[..., :3])  # a power of two rounds nothing
    assert torch.equal(both[..., 3], one[..., 3])
    assert under(torch.zeros_like(other))[..., :3].abs().max() == 0.0


@needs_compiler
@pytest.mark.parametrize("size", [1.0, 30.0, 85.0])
def test_softplus_keeps_its_relative_precision_in_both_tails(size):
    tensors, numbers = make(B=1, grid=8)
    for name in ("opacity_weight", "gain_weight"):
        tensors[name] = torch.zeros_like(tensors[name])
    tensors["opacity_bias"] = torch.linspace(-size, size, tensors["opacity_bias"].numel()).reshape(
        tensors["opacity_bias"].shape
    )
    exact_inputs = {name: tensor.detach().double() for name, tensor in tensors.items()}
    opacity = assemble(**tensors, **numbers, backend="cpu")[..., 3].double()
    exact = torch.log1p(torch.exp(-exact_inputs["opacity_bias"].abs())) + exact_inputs["opacity_bias"].clamp(min=0)
    exact = 100.0 * exact.flatten().sort().values
    found = opacity[0, 0].flatten().sort().values
    assert ((found - exact).abs() / exact).max() < 1e-6


@needs_compiler
@pytest.mark.parametrize("name", ["opacity_features", "gain_features", "light", "gate"])
def test_a_nan_is_not_hidden(name):
    tensors, numbers = make()
    broken = tensors[name].detach().clone()
    broken.view(-1)[0] = float("nan")
    assert assemble(**{**tensors, name: broken}, **numbers, backend="cpu").isnan().any()


@needs_compiler
def test_results_that_are_still_used_are_not_overwritten():
    tensors, numbers = make()
    first = assemble(**tensors, **numbers, backend="cpu")
    kept = first.detach().clone()
    part = first[0, 0, 0]
    others = [assemble(**make(seed=seed)[0], **numbers, backend="cpu") for seed in range(1, 5)]
    del first
    others += [assemble(**make(seed=seed)[0], **numbers, backend="cpu") for seed in range(5, 9)]
    assert torch.equal(part, kept[0, 0, 0])
    assert len({other.data_ptr() for other in others}) == len(others)


@needs_compiler
def test_inputs_may_have_any_strides():
    tensors, numbers = make()
    expected = values_and_gradients(tensors, numbers, "cpu")
    strided = {
        name: tensor.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
        for name, tensor in tensors.items()
    }
    for name, value in values_and_gradients(strided, numbers, "cpu").items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gate": torch.zeros(2, 8, 8, 2, 11)}, "gate has shape"),
        ({"light": torch.zeros(2, 3, 8, 8, 10, dtype=torch.float64)}, "light is torch.float64"),
        ({"grid": 3}, "8² texels do not divide over 3²"),
        ({"depth": 3}, "16 voxels a texel are not 3 layers"),
    ],
)
def test_wrong_inputs_are_refused_by_name(change, words):
    tensors, numbers = make()
    changed_sizes = {name: change.get(name, numbers[name]) for name in ("grid", "depth")}
    with pytest.raises(VrmmError, match=words):
        # Past the shape checker of the tests, which users do not have.
        checked_layout({name: change.get(name, tensor) for name, tensor in tensors.items()}, **changed_sizes)


def test_unknown_backends_are_refused_with_the_known_ones():
    tensors, numbers = make()
    with pytest.raises(VrmmError, match="unknown backend 'gpu'; choose auto, reference, cpu"):
        assemble(**tensors, **numbers, backend="gpu")


def test_without_a_compiler_the_reference_answers_with_one_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path))
    cached = (api._cpu_problem, api._works, cpu.kernel)
    for function in cached:
        function.cache_clear()
    try:
        tensors, numbers = make()
        expected = assemble(**tensors, **numbers, backend="reference")
        with pytest.warns(RuntimeWarning, match="assemble uses the slow reference .* 'no-such-compiler'"):
            assert torch.equal(assemble(**tensors, **numbers), expected)
        assert torch.equal(assemble(**tensors, **numbers), expected)
        assert available_backends() == ("reference",)
    finally:
        for function in cached:
            function.cache_clear()
