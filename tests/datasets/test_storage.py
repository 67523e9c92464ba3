"""Shards far away: the same bytes as on the disk, few requests, and trouble that passes or is named."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from datasets import storage
from datasets.disk_cache import DiskCache
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shards import DamageError, build_shards, open_shards
from datasets.storage import LocalStorage, is_remote, open_storage, resolve_folder
from tests.datasets.range_server import RangeServer, serve
from tests.datasets.tiny_capture import TinyCapture

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(storage, "_PAUSES", (0.01, 0.02))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT)
    with serve(folder) as running:
        yield running


@pytest.fixture
def shards(server: RangeServer) -> str:
    """The URL of a few shards; a local copy lies in ``server.folder``."""
    build_shards(TinyCapture(subjects=2, frames=4, splits=False), server.folder / "tiny", samples_per_shard=3)
    return f"{server.url}/tiny"


def test_ranges_are_the_bytes_of_the_file(server: RangeServer) -> None:
    ranges = [(299_990, 10), (0, 1), (100, 50_000), (120, 7), (200_000, 3), (299_995, 100), (5, 0)]
    expected = [CONTENT[offset : offset + size] for offset, size in ranges]
    for place in (open_storage(server.url), open_storage(server.folder), open_storage(f"file://{server.folder}")):
        assert place.read_ranges("data.bin", ranges) == expected
        assert place.read_whole("data.bin") == CONTENT
        assert place.where("data.bin").endswith("/data.bin")


def test_neighbours_are_fetched_in_one_request(server: RangeServer) -> None:
    """A picture and its mask lie side by side; asking for each would double the wait for the network."""
    far = open_storage(server.url)
    assert far.read_ranges("data.bin", [(1000, 100), (2000, 100), (200_000, 5)])[1] == CONTENT[2000:2100]
    assert sorted(start for _, start in server.requests) == [1000, 200_000]


def test_forward_files_skip_and_end(server: RangeServer) -> None:
    for place in (open_storage(server.url), open_storage(server.folder), open_storage("memory://forward")):
        if place.location.startswith("memory"):
            place._files.pipe_file(f"{place._root}/data.bin", CONTENT)
        file = place.open_forward("data.bin")
        assert file.read(10, 100) == CONTENT[10:110]
        assert file.read(110, 5) == CONTENT[110:115]
        assert file.read(150_000, 40_000) == CONTENT[150_000:190_000]
        assert file.read(299_999, 10) == CONTENT[299_999:], "shorter at the end"
        assert file.read(400_000, 10) == b""
        file.close()
    assert len(server.requests) == 1, "one request brings the whole file"


def test_what_fails_once_is_asked_for_again(server: RangeServer) -> None:
    far = open_storage(server.url)
    server.failures = 2
    assert far.read_ranges("data.bin", [(7, 9)]) == [CONTENT[7:16]]
    server.failures = 2
    assert far.read_whole("data.bin") == CONTENT
    server.failures = 3
    with pytest.raises(OSError, match="503"):
        far.read_ranges("data.bin", [(7, 9)])


def test_a_cut_connection_goes_on_where_it_was(server: RangeServer) -> None:
    server.hang_up_after = 100_000
    file = open_storage(server.url).open_forward("data.bin")
    read = b"".join(file.read(start, 30_000) for start in range(0, 300_000, 30_000))
    file.close()
    assert read == CONTENT
    assert len(server.requests) == 2
    server.hung_up.clear()
    assert open_storage(server.url).read_ranges("data.bin", [(0, 150_000)]) == [CONTENT[:150_000]]


def test_what_is_not_there_is_not_asked_for_twice(server: RangeServer) -> None:
    far = open_storage(server.url)
    for attempt in (lambda: far.read_whole("x"), lambda: far.read_ranges("x", [(0, 1)])):
        with pytest.raises(FileNotFoundError, match="No such file"):
            attempt()
    with pytest.raises(FileNotFoundError, match="No such file"):
        far.open_forward("x").read(0, 1)
    assert len(server.requests) == 3


def test_a_server_without_ranges_is_named(server: RangeServer) -> None:
    """It would send a whole shard for every member."""
    server.ignores_ranges = True
    with pytest.raises(OSError, match="ignores byte ranges; set loader.mode=stream"):
        open_storage(server.url).read_ranges("data.bin", [(5, 10)])
    file = open_storage(server.url).open_forward("data.bin")
    assert file.read(5, 10) == CONTENT[5:15], "streams need none"
    file.close()


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("a/b") == str(tmp_path / "a" / "b")
    assert resolve_folder(f"file://{tmp_path}/a") == str(tmp_path / "a")
    assert resolve_folder("s3://bucket/a") == "s3://bucket/a"
    assert not is_remote(tmp_path)
    assert isinstance(open_storage("file:///x"), LocalStorage)
    with pytest.raises(VrmmError, match="nowhere://x cannot be read: .*folders, http:// and s3://"):
        open_storage("nowhere://x")
    with pytest.raises(VrmmError, match="dropbox://x/y cannot be read: .*install"):
        open_storage("dropbox://x/y")


def test_remote_shards_are_the_local_ones(server: RangeServer, shards: str) -> None:
    near, far = open_shards(server.folder / "tiny"), open_shards(shards)
    assert (far.remote, far.folder, near.remote) == (True, shards, False)
    for sample in range(len(near)):
        names = near.extensions(sample)
        assert far.read_members(sample, names) == near.read_members(sample, names)
        assert far.frame(sample).key == near.key(sample)


def test_training_from_far_is_training_from_near(server: RangeServer, shards: str) -> None:
    for mode in ("members", "stream"):
        taken = []
        for place in (str(server.folder / "tiny"), shards):
            loader = FrameLoader(LoaderConfig(shards=place, batch_frames=2, **_mode(mode)))
            batches = loader.batches(1)
            taken.append([(b.keys, b.target_images.numpy().tobytes()) for b in islice(batches, 5)])
            batches.close()
        assert taken[0] == taken[1]


def _mode(name: str) -> dict:
    from datasets.loader import Mode

    return {"mode": Mode(name), "streams": 4, "stream_window": 2, "workers": 2}


def test_a_step_asks_for_its_shards_alone(server: RangeServer, shards: str) -> None:
    loader = FrameLoader(LoaderConfig(shards=shards, batch_frames=1, workers=0, shuffle_shards=1))
    server.requests.clear()
    batches = loader.batches(5)
    next(batches)
    assert server.asked(".tar") == set(loader.shards_of(5))
    assert len(server.requests) < 10, "views in one call, neighbours in one request"
    batches.close()


def test_damage_far_away_is_named(server: RangeServer, shards: str) -> None:
    tar = server.folder / "tiny" / "tiny-000001.tar"
    data = bytearray(tar.read_bytes())
    data[data.find(b"s1_talk_000001.front.rgb.png\0") + 600] ^= 1
    tar.write_bytes(data)
    far = open_shards(shards)
    url = f"{shards}/tiny-000001.tar"
    with pytest.raises(DamageError, match=f"{url}: member front.rgb.png of sample s1_talk_000001 is damaged"):
        far.read(far.sample("s1_talk_000001"), "front.rgb.png")
    tar.write_bytes(data[:2000])
    with pytest.raises(DamageError, match="is cut off after|cannot be read"):
        far.read(far.sample("s1_talk_000001"), "front.rgb.png")
    tar.unlink()
    with pytest.raises(DamageError, match=r"cannot be read \(No such file or directory\); copy the shard again"):
        far.read(far.sample("s1_talk_000001"), "front.rgb.png")


def test_places_without_shards_are_named(server: RangeServer, shards: str) -> None:
    with pytest.raises(VrmmError, match=f"{server.url}/nothing holds no finished shards"):
        open_shards(f"{server.url}/nothing")
    (server.folder / "tiny" / "manifest.json").write_text("{}")
    with pytest.raises(VrmmError, match=f"{shards}/manifest.json is not a shard manifest"):
        open_shards(shards)
    server.failures = 100
    with pytest.raises(VrmmError, match=f"{shards} cannot be read: .*503.*is the place right"):
        open_shards(shards)


def test_what_was_fetched_is_not_fetched_again(server: RangeServer, shards: str, tmp_path: Path) -> None:
    first = open_shards(shards, DiskCache(tmp_path / "cache", 10**6))
    members = first.read_members(2, first.extensions(2))
    again = open_shards(shards, DiskCache(tmp_path / "cache", 10**6))
    server.requests.clear()
    assert again.read_members(2, again.extensions(2)) == members
    assert server.requests == []
    for path in (tmp_path / "cache").glob("*/*"):
        path.write_bytes(b"spoilt by a full disk")
    assert again.read_members(2, again.extensions(2)) == members, "what is wrong in the cache is fetched again"
    assert len(server.requests) > 0
    server.requests.clear()
    assert again.read_members(2, again.extensions(2)) == members
    assert server.requests == [], "and kept then"


def test_shards_that_were_built_again_are_not_taken_from_the_cache(
    server: RangeServer, shards: str, tmp_path: Path
) -> None:
    class Other(TinyCapture):
        def image(self, key, camera):
            return np.full_like(super().image(key, camera), 0.25)

    cache = DiskCache(tmp_path / "cache", 10**6)
    before = open_shards(shards, cache).read(0, "front.rgb.png")
    for path in (server.folder / "tiny").iterdir():
        os.unlink(path)
    build_shards(Other(subjects=2, frames=4, splits=False), server.folder / "tiny", samples_per_shard=3)
    assert open_shards(shards, cache).read(0, "front.rgb.png") != before


def test_shards_in_a_bucket(server: RangeServer, shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback server answers GET and HEAD of a bucket's objects as an object store does."""
    pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "r",
    }.items():
        monkeypatch.setenv(name, value)
    near, far = open_shards(server.folder / "tiny"), open_shards("s3://tiny")
    server.requests.clear()
    names = ["front.rgb.png", "meta.json", "light.npz"]
    assert far.read_members(4, names) == near.read_members(4, names)
    assert all(start is not None for path, start in server.requests), "by range"
    loaders = [
        FrameLoader(LoaderConfig(shards=place, batch_frames=2, **_mode("stream")))
        for place in ("s3://tiny", str(server.folder / "tiny"))
    ]
    taken = []
    for loader in loaders:
        batches = loader.batches(2)
        taken.append([(batch.keys, batch.target_images.numpy().tobytes()) for batch in islice(batches, 3)])
        batches.close()
    assert taken[0] == taken[1]
    with pytest.raises(VrmmError, match="s3://tiny/nothing holds no finished shards"):
        open_shards("s3://tiny/nothing")
