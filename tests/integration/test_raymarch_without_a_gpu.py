"""The Triton kernels of ``raymarch`` where there is no GPU: they compute in the interpreter, and compile for one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent.parent / "prior" / "test_raymarch_triton.py"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
]


def test_values_and_gradients_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(KERNELS)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "no GPU" not in outcome.stdout


@pytest.mark.parametrize(("capability", "eight"), [(80, False), (90, True)])
def test_the_kernels_compile(capability, eight, monkeypatch, tmp_path):
    """The interpreter accepts what the compiler does not: types that change in a loop, for one."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from prior.raymarch import triton_culling, triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"EIGHT": eight, "DEPTH": 8, "HEIGHT": 8, "WIDTH": 8, "RAYS": 64, "GROUP": 32, "WRITE": True}
    numbers = {"step_size": "fp32", "fade_scale": "fp32", "fade_exponent": "fp32"}
    numbers |= {"primitives": "i32", "tiles_of_image": "i32", "start": "*i64"}
    numbers |= dict.fromkeys(("count", "found", "stop", "hit_tile", "hit_box", "hit_first", "hit_last"), "*i32")
    for kernel in (
        triton_culling.candidates_kernel,
        triton_culling.steps_kernel,
        triton_kernels.forward_kernel,
        triton_kernels.backward_kernel,
    ):
        names = kernel.arg_names
        types = {name: "constexpr" if name in constants else numbers.get(name, "*fp32") for name in names}
        fixed = {(at,): constants[name] for at, name in enumerate(names) if name in constants}
        source = ASTSource(fn=kernel, signature=types, constexprs=fixed)
        target = GPUTarget("cuda", capability, 32)
        compiled = compile_kernel(source, target=target, options={"num_warps": 2, **triton_culling.OPTIONS})
        assert compiled.asm["cubin"]
