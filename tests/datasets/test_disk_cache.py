"""The cache on disk: never larger than it may be, forgets what was used longest ago, survives whatever is in it."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.disk_cache import DiskCache
from datasets.errors import VrmmError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 1000))
def test_it_is_bounded_and_gives_what_was_put(tmp_path_factory, puts, most) -> None:
    cache = DiskCache(tmp_path_factory.mktemp("cache"), most)
    content = {key: bytes([key]) * (key * 37) for key in puts}
    for key in puts:
        cache.put(str(key), content[key])
        assert cache.bytes() <= most
        assert all(cache.get(str(other)) in (None, content[other]) for other in content)
        assert cache.get(str(key)) == (content[key] if len(content[key]) <= most else None), "the newest is kept"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    for number, name in enumerate("abc"):
        cache.put(name, bytes(300))
        os.utime(cache._path(name), (number, number))
    assert cache.get("a") is not None, "used now"
    cache.put("d", bytes(300))
    kept = {name for name in "abcd" if cache.get(name) is not None}
    assert kept in ({"a", "c", "d"}, {"a", "d"})


def test_a_new_process_counts_what_is_there(tmp_path: Path) -> None:
    DiskCache(tmp_path, 1000).put("a", bytes(900))
    (tmp_path / ".bytes").write_bytes(b"")  # torn by a kill
    smaller = DiskCache(tmp_path, 500)
    assert smaller.bytes() == 0
    smaller.put("b", bytes(400))
    (tmp_path / ".bytes").write_bytes(b"")
    smaller.put("c", bytes(400))
    assert smaller.bytes() <= 500


def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    DiskCache(tmp_path, 1000).put("a", bytes(10))
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    old, new = folder / "old.tmp", folder / "new.tmp"
    for path in (old, new):
        path.write_bytes(bytes(50))
    os.utime(old, (time.time() - 7200,) * 2)
    assert DiskCache(tmp_path, 1000).get("a") == bytes(10)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_or_a_gone_folder_costs_only_time(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 1000)
    cache.put("a", bytes(10))
    for path in sorted((tmp_path / "cache").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "cache").rmdir()
    cache.put("b", bytes(10))
    assert cache.get("a") is None
    assert cache.get("b") is None
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VrmmError, match="cannot keep a cache in .*file/cache.*set loader.disk_cache"):
        DiskCache(tmp_path / "file" / "cache", 10)


def _fill(folder: Path, name: str) -> None:
    cache = DiskCache(folder, 20_000)
    for number in range(100):
        cache.put(f"{name}{number}", bytes(500))
        if cache.bytes() > 20_000:
            raise SystemExit(1)


def test_processes_share_one_bound(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert 10_000 < DiskCache(tmp_path, 20_000).bytes() <= 20_000
