"""``raymarch``: what it refuses, and what it does on a machine without a compiler."""

import math
import warnings

import pytest
import torch

from datasets.errors import VrmmError
from prior.raymarch import api, available_backends, cpu, raymarch
from prior.raymarch.scene import Scene
from tests.prior.raymarch_scenes import as_type, random_scene

DEFAULTS = {"fade_scale": 8.0, "fade_exponent": 8.0, "image_shape": None}


def broken(name, change):
    scene = random_scene()
    value = scene[name].clone() if isinstance(scene[name], torch.Tensor) else scene[name]
    return {**scene, name: change(value)}


def with_element(value):
    def change(tensor):
        tensor.view(-1)[5] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("near_far", lambda t: t[..., :1], r"near_far has shape \[2, 30, 1\], expected \[B,R,2\] with B=2, R=30"),
        ("center", lambda t: t[:, :-1], r"rotation has shape \[2, 8, 3, 3\], expected \[B,K,3,3\]"),
        ("voxels", lambda t: t[:1], r"voxels has shape \[1, 8, "),
        ("voxels", lambda t: t[:, :, :1], r"give at least 2 along D, H and W"),
        ("voxels", lambda t: t.half(), "convert every input to float32 or float64"),
        ("half_size", lambda t: t.double(), "half_size is torch.float64 but voxels are torch.float32"),
        ("center", lambda t: t.to("meta"), "center is on meta but voxels are on cpu"),
        ("ray_origin", lambda t: t.requires_grad_(), "rays are not differentiated"),
        ("step_size", lambda t: 0.0, "step_size is 0.0; give a positive length"),
        ("step_size", lambda t: math.nan, "step_size is nan"),
        ("step_size", lambda t: 1e-12, "too many"),
        ("near_far", with_element(math.inf), "near_far holds NaN or infinity"),
        ("near_far", with_element(math.nan), "near_far holds NaN or infinity"),
        ("near_far", with_element(0.1), "near > far"),
        ("ray_origin", with_element(math.nan), "ray_origin holds NaN or infinity"),
        ("ray_direction", with_element(2.0), "not of unit length"),
        ("ray_direction", with_element(math.nan), "not of unit length"),
        ("center", with_element(math.nan), "center holds NaN or infinity"),
        ("rotation", with_element(math.inf), "rotation holds NaN or infinity"),
        ("half_size", with_element(0.0), "half_size holds a value of 0 or less"),
    ],
)
def test_a_bad_input_is_named_with_the_way_out(name, change, message):
    with pytest.raises(VrmmError, match=message):
        Scene(**broken(name, change), **DEFAULTS)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"fade_exponent": 0.5}, "fade_exponent is 0.5"),
        ({"fade_scale": -1.0}, "fade_scale is -1.0"),
        ({"image_shape": (5, 5)}, r"image_shape \(5, 5\) does not hold the 30 rays given"),
        ({"backend": "gpu"}, "unknown backend 'gpu'; choose auto, cpu, reference, triton"),
    ],
)
def test_a_bad_option_is_named_with_the_way_out(option, message):
    with pytest.raises(VrmmError, match=message):
        raymarch(**random_scene(), **option)


def test_auto_takes_float64_to_the_reference_and_cpu_refuses_it():
    scene = as_type(random_scene(), torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(raymarch(**scene), raymarch(**scene, backend="reference"))
    with pytest.raises(VrmmError, match=r"takes float32 on a CPU, not torch.float64 on cpu"):
        raymarch(**scene, backend="cpu")


@pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler")
def test_auto_takes_float32_to_the_kernel():
    scene = random_scene()
    assert torch.equal(raymarch(**scene), raymarch(**scene, backend="cpu"))


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """A machine whose compiler is missing, for a process that has not asked yet."""
    asked_once = (cpu.kernel, api._cpu_problem, api._warn_once)
    for answer in asked_once:
        answer.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path))
    yield
    for answer in asked_once:
        answer.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_auto_warns_once_and_renders_the_same():
    scene = random_scene()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = raymarch(**scene)
        raymarch(**scene)
    assert [warning.category for warning in caught] == [RuntimeWarning]
    message = str(caught[0].message)
    assert "'no-such-compiler' does not run" in message
    assert "apt install g++" in message
    assert "\n" not in message
    assert torch.equal(first, raymarch(**scene, backend="reference"))
    assert available_backends("cpu") == ("reference",)
    with pytest.raises(VrmmError, match="no-such-compiler"):
        raymarch(**scene, backend="cpu")
