"""``prior.native``: a kernel is built once, whole, and again when it is damaged."""

import os
import stat
import threading

import pytest
import torch

from datasets.errors import VrmmError
from prior.native import BufferPool, load_library
from prior.native.build import cache_folder
from prior.raymarch import available_backends

needs_compiler = pytest.mark.skipif("cpu" not in available_backends(), reason="no C++ compiler")


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """A compiler that writes down each library it builds, and an empty cache; -> the list as a function."""
    log = tmp_path / "builds"
    log.touch()
    script = tmp_path / "compiler"
    real = os.environ.get("CXX") or "g++"
    script.write_text(f'#!/bin/sh\ncase "$*" in *-shared*) echo built >> "{log}";; esac\nexec {real} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "cache"))
    return lambda: len(log.read_text().splitlines())


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "answer.h").write_text("#define ANSWER 41\n")
    path = folder / "kernel.cpp"
    path.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n')
    return path


def libraries():
    return sorted(cache_folder().glob("*.so"))


@needs_compiler
def test_a_kernel_is_built_once(compiler, source):
    assert load_library(source).answer() == 41
    assert load_library(source).answer() == 41
    assert compiler() == 1
    assert not list(cache_folder().glob(".*"))  # nothing half-built is left


@needs_compiler
def test_a_changed_header_or_source_is_another_kernel(compiler, source):
    load_library(source)
    (source.parent / "answer.h").write_text("#define ANSWER 42\n")
    assert load_library(source).answer() == 42
    source.write_text(source.read_text().replace("ANSWER;", "ANSWER + 1;"))
    assert load_library(source).answer() == 43
    assert compiler() == 3


@needs_compiler
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no checksum"])
def test_a_damaged_library_is_built_again(compiler, source, damage):
    load_library(source)
    (library,) = libraries()
    whole = library.read_bytes()
    library.unlink()  # as this process has it open: a new file
    if damage == "truncated":
        library.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        library.write_bytes(bytes([whole[0], whole[1] ^ 1]) + whole[2:])
    elif damage == "empty":
        library.write_bytes(b"")
    else:
        library.write_bytes(whole)
        library.with_suffix(".sha256").unlink()
    assert load_library(source).answer() == 41
    assert compiler() == 2


@needs_compiler
def test_builders_at_the_same_time_build_once(compiler, source):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(load_library(source).answer())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [41] * 4
    assert compiler() == 1


@needs_compiler
def test_source_that_does_not_compile_names_the_compiler_and_the_reason(compiler, source):
    source.write_text("int broken( {\n")
    with pytest.raises(VrmmError, match=r"compiler .* failed \(.*error: .*\); name another one in CXX"):
        load_library(source)
    assert not libraries()


def test_a_missing_compiler_is_named_with_the_way_out(monkeypatch, tmp_path, source):
    monkeypatch.setenv("CXX", "no-such-compiler -v")
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(VrmmError, match=r"'no-such-compiler' does not run .*apt install g\+\+"):
        load_library(source)


@needs_compiler
def test_a_cache_that_cannot_be_written_names_the_way_out(monkeypatch, tmp_path, source):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "file"))
    with pytest.raises(VrmmError, match="choose another cache folder in VRMM_CACHE"):
        load_library(source)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("VRMM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "vrmm" / "kernels"
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "kernels"


def test_a_buffer_comes_back_only_when_nobody_refers_to_it():
    pool = BufferPool(kept=2)
    first = pool.tensor((4, 5))
    address = first.data_ptr()
    view = first[1:].flatten()[3:]
    del first
    assert pool.tensor((4, 5)).data_ptr() != address
    del view
    assert address in {pool.tensor((4, 5)).data_ptr(), pool.tensor((20,)).data_ptr()}
    assert pool.tensor((4, 5)).dtype == torch.float32


def test_a_pool_keeps_no_more_than_it_says():
    pool = BufferPool(kept=2)
    held = [pool.tensor((100,)) for _ in range(5)]
    held.clear()
    assert len(pool._free) == 2
    assert pool.tensor((1000,)).shape == (1000,)
    assert len(pool._free) == 2  # the small ones did not fit
