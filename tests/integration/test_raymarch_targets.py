"""The raymarching kernel on processors with narrower vectors: compiled anew, so slower than its other tests."""

import platform

import pytest
import torch

from prior.raymarch import available_backends, cpu
from tests.prior.raymarch_scenes import as_type, dense, random_scene, render_and_differentiate

pytestmark = [
    pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64"),
]


@pytest.fixture(params=["-mno-avx512f", "-mno-avx"], ids=["8 lanes", "4 lanes"])
def narrower_kernel(request, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", f"g++ {request.param}")
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path))
    cpu.kernel.cache_clear()
    yield
    cpu.kernel.cache_clear()


@pytest.mark.usefixtures("narrower_kernel")
def test_values_and_gradients():
    for seed, options in ((1, {"image_shape": (19, 13)}), (2, {}), (3, {"fade_exponent": 3.0})):
        scene = random_scene(seed, height=19, width=13, primitives=12, opacity=15)
        fade = {name: value for name, value in options.items() if name == "fade_exponent"}
        _, fragile = dense(scene, **fade)
        upstream = torch.randn(2, 19 * 13, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        upstream[fragile] = 0
        expected, exact = render_and_differentiate(as_type(scene, torch.float64), upstream, "reference", **fade)
        found, gradients = render_and_differentiate(scene, upstream, "cpu", **options)
        # float32 against float64, as in tests/prior/test_raymarch_cpu.py; without fused multiply-adds at 4 lanes
        torch.testing.assert_close(found[~fragile].double(), expected[~fragile], rtol=1e-4, atol=1e-4)
        for name, gradient in exact.items():
            assert (gradients[name] - gradient).norm() <= 2e-4 * gradient.norm(), name
