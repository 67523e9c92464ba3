"""Opening a manifest: keys and what it says of members stay unread until asked for, and say the same then."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.held_file import HeldFile
from datasets.key_column import KeyColumn
from datasets.manifest import Manifest, Shard, manifest_bytes, read_manifest, write_manifest
from datasets.manifest_index import open_manifest
from datasets.member_table import MemberArrays, MemberDigits
from datasets.shards import open_shards, verify_shards


def make_shard(name: str, samples: int, layouts: tuple[tuple[str, ...], ...], seed: int) -> Shard:
    """Random numbers in every column."""
    chance = np.random.default_rng(seed)
    layout = chance.integers(0, len(layouts), samples)
    members = int(np.array([len(one) for one in layouts])[layout].sum())
    return Shard(
        name=name,
        bytes=2**40,
        sha256="0" * 64,
        lamps=seed % 400,
        keys=tuple(f"{chance.choice(['s0', 'Jürgen', 's'])}_talk_{i:06d}" for i in range(samples)),
        subject=chance.integers(0, 9, samples),
        held_out=chance.integers(0, 2, samples),
        layouts=layouts,
        layout=layout,
        members=MemberArrays(
            512 * chance.integers(1, 2**30, members),
            chance.integers(0, 2**32, members),
            chance.integers(0, 2**32, members),
        ),
    )


NAMES, SIZES = st.sampled_from(["a", "grün", "with space"]), st.sampled_from([0, 1, 7, 5000])


@given(capture=st.text(max_size=9), shapes=st.lists(st.tuples(NAMES, SIZES, st.integers(0, 10**9)), max_size=3))
def test_what_is_opened_is_what_was_written(
    capture: str, shapes: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Samples have different members, and some lines are longer than what is read at once."""
    layouts = (("a.rgb.png", "meta.json"), ("meta.json",), ())
    shards = tuple(make_shard(f"{name}-{seed}.tar", samples, layouts, seed) for name, samples, seed in shapes)
    manifest = Manifest(capture=capture, capture_sha256="1" * 64, shards=shards)
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder, manifest)
    opened = open_manifest(folder)
    assert manifest_bytes(opened) == manifest_bytes(manifest) == manifest_bytes(read_manifest(folder))
    for one, shard in zip(opened.shards, manifest.shards, strict=True):
        assert isinstance(one.members, MemberDigits)
        assert isinstance(one.keys, KeyColumn)
        assert list(one.keys) == list(shard.keys)
        assert len(one.keys) == shard.samples
        rows = range(0, len(shard.members), 97)
        assert [one.members.at(row) for row in rows] == [shard.members.at(row) for row in rows]


def test_opening_leaves_keys_and_members_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 96 hundredths of what a manifest of twenty members a sample says."""
    layout = (tuple(f"c{number:02d}.rgb.jpg" for number in range(20)),)
    shards = tuple(make_shard(f"many-{number:06d}.tar", 5000, layout, number) for number in range(3))
    write_manifest(tmp_path, Manifest(capture="many", capture_sha256="1" * 64, shards=shards))
    total = []
    read = HeldFile.read
    monkeypatch.setattr(HeldFile, "read", lambda file, start, size: total.append(size) or read(file, start, size))
    opened = open_manifest(tmp_path)
    assert sum(total) < 0.06 * (tmp_path / "manifest.json").stat().st_size
    del total[:]
    assert opened.shards[1].members.at(99) == shards[1].members.at(99)
    assert total == [8, 8, 8]
    assert opened.shards[2].keys[4321] == shards[2].keys[4321]


def test_one_laid_out_anew_is_opened_all_the_same(shards: Path) -> None:
    path = shards / "manifest.json"
    expected = manifest_bytes(read_manifest(shards))
    for text in (json.dumps(json.loads(path.read_bytes())), json.dumps(json.loads(path.read_bytes()), indent=2)):
        path.write_text(text)
        assert manifest_bytes(open_manifest(shards)) == expected
        assert open_shards(shards).frame(0).key == "s0_talk_000000"


def test_one_that_was_cut_anywhere_is_refused(shards: Path) -> None:
    path = shards / "manifest.json"
    text = path.read_bytes()
    for length in range(0, len(text) - 1, 37):  # but for its last byte, the end of the line, nothing may be missing
        path.write_bytes(text[:length])
        with pytest.raises(VrmmError, match=r"manifest\.json is not a shard manifest"):
            open_manifest(shards)


def test_a_damaged_digit_is_named_where_it_is_needed(shards: Path) -> None:
    path = shards / "manifest.json"
    text = bytearray(path.read_bytes())
    opened = open_manifest(shards)
    table = opened.shards[0].members
    assert isinstance(table, MemberDigits)
    text[table.starts[1] + 8 * 2 + 3] = ord("x")  # the size of the third member
    path.write_bytes(text)
    damaged = open_shards(shards)
    first, second, third, *_ = damaged.extensions(0)
    assert damaged.read_members(0, [first, second])
    with pytest.raises(VrmmError, match=r"manifest\.json cannot be read or is damaged .*vrmm shards verify"):
        damaged.read(0, third)
    assert [problem.file for problem in verify_shards(shards)] == ["manifest.json"]


@pytest.mark.parametrize("damage", [b"\\", b" ", b'"', b"\xff"])
def test_a_damaged_key_is_named_where_it_is_needed(shards: Path, damage: bytes) -> None:
    path = shards / "manifest.json"
    text = bytearray(path.read_bytes())
    keys = open_manifest(shards).shards[0].keys
    assert isinstance(keys, KeyColumn)
    text[keys.start + 3 : keys.start + 4] = damage
    path.write_bytes(text)
    damaged = open_shards(shards)
    assert damaged.key(3) == "s0_talk_000003"  # of another shard
    with pytest.raises(VrmmError, match=r"manifest\.json .*vrmm shards verify"):
        damaged.key(0)


def test_an_open_set_outlives_a_build_in_its_place(shards: Path) -> None:
    """The file that was opened goes on being read, not the one that took its name."""
    opened = open_shards(shards)
    expected, key = opened.read(5, "meta.json"), opened.key(3)
    other = read_manifest(shards)
    write_manifest(shards, Manifest(capture="another", capture_sha256="0" * 64, shards=other.shards[::-1]))
    assert opened.read(5, "meta.json") == expected
    assert opened.key(3) == key
