"""Damage of shards: every one is found and named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.shards import DamageError, open_shards, verify_shards
from tests.datasets.shard_damage import cut, flip_bit, repack, swap_files, tar_members


def test_sound_shards_have_no_problem(built: Path) -> None:
    calls: list[tuple[int, int]] = []
    assert verify_shards(built, lambda done, total: calls.append((done, total))) == []
    assert calls[-1][0] == calls[-1][1] == sum(path.stat().st_size for path in built.glob("*.tar"))


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_data_is_named_by_verify_and_by_read(shards: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(3))
    member = rng.choice(np.array(tar_members(shards / f"tiny-{number:06d}.tar"), object))
    flip_bit(shards / f"tiny-{number:06d}.tar", member.offset_data + int(rng.integers(member.size)), rng)
    key, _, extension = member.name.partition(".")
    problems = verify_shards(shards)
    assert [(p.file, p.key, p.member) for p in problems] == [(f"tiny-{number:06d}.tar", key, extension)]
    opened = open_shards(shards)
    message = rf"tiny-{number:06d}\.tar: member {extension} of sample {key} is damaged"
    with pytest.raises(DamageError, match=message) as caught:
        opened.read(opened.sample(key), extension)
    assert (caught.value.shard, caught.value.key, caught.value.member) == (f"tiny-{number:06d}.tar", key, extension)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_in_a_header_is_named(shards: Path, seed: int) -> None:
    """Readers of the plain tar would lose samples in silence; reading by the manifest still works."""
    rng = np.random.default_rng(seed)
    member = rng.choice(np.array(tar_members(shards / "tiny-000000.tar"), object))
    flip_bit(shards / "tiny-000000.tar", member.offset + int(rng.integers(512)), rng)
    key, _, extension = member.name.partition(".")
    (problem,) = verify_shards(shards)
    assert (problem.file, problem.key, problem.member) == ("tiny-000000.tar", key, extension)
    assert "tar header" in problem.message
    opened = open_shards(shards)
    assert len(opened.read(opened.sample(key), extension)) == member.size


def test_a_header_that_is_only_spelled_otherwise_is_named(shards: Path) -> None:
    """The number that a header's checksum ends with may be followed by anything: tar itself does not notice."""
    path, member = shards / "tiny-000000.tar", tar_members(shards / "tiny-000000.tar")[4]
    data = bytearray(path.read_bytes())
    assert data[member.offset + 155] == ord(" ")
    data[member.offset + 155] = 0
    path.write_bytes(data)
    (problem,) = verify_shards(shards)
    assert f"{problem.key}.{problem.member}" == member.name
    assert problem.message == "its tar header differs from what was written; nothing is lost"


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_in_the_padding_is_named(shards: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.choice(np.array([m for m in tar_members(shards / "tiny-000000.tar")[:-1] if m.size % 512], object))
    flip_bit(shards / "tiny-000000.tar", member.offset_data + member.size + int(rng.integers(-member.size % 512)), rng)
    (problem,) = verify_shards(shards)
    assert f"{problem.key}.{problem.member}" == member.name
    assert problem.message == "the padding after it is damaged; nothing is lost"


def test_a_flipped_bit_behind_the_last_member_is_named(shards: Path) -> None:
    path = shards / "tiny-000000.tar"
    flip_bit(path, path.stat().st_size - 1, np.random.default_rng(0))
    assert [(p.file, p.message) for p in verify_shards(shards)] == [
        (path.name, "the end of the archive is damaged; nothing is lost")
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_anywhere_is_found_and_its_file_is_named(shards: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(shards.iterdir())))
    before = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :])
    problems = [str(problem) for problem in verify_shards(shards)]
    path.write_bytes(before)
    assert any(path.name in problem for problem in problems), problems


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("where", ["data", "header", "boundary", "end"])
def test_a_truncated_shard_is_named(shards: Path, seed: int, where: str) -> None:
    rng = np.random.default_rng(seed)
    path = shards / "tiny-000001.tar"
    members = tar_members(shards / "tiny-000001.tar")
    place = int(rng.integers(1, len(members)))
    member = members[place]
    length = {
        "data": member.offset_data + int(rng.integers(member.size)),
        "header": member.offset + int(rng.integers(1, 512)),
        "boundary": member.offset,
        "end": members[-1].offset_data + members[-1].size + 700,
    }[where]
    cut(path, length)
    lost = 0 if where == "end" else len(members) - place
    problems = verify_shards(shards)
    assert [p.file for p in problems] == [path.name], [str(p) for p in problems]
    assert f"truncated to {length} of" in problems[0].message
    assert f"{lost} members of " in problems[0].message
    opened = open_shards(shards)
    if lost:
        assert f"{problems[0].key}.{problems[0].member}" == member.name
        with pytest.raises(DamageError, match="is cut off"):
            opened.read(opened.sample(member.name.partition(".")[0]), member.name.partition(".")[2])


def test_missing_swapped_and_foreign_shards_are_named(shards: Path) -> None:
    first, second = shards / "tiny-000000.tar", shards / "tiny-000001.tar"
    swap_files(first, second)
    (shards / "tiny-000002.tar").rename(shards / "tiny-000007.tar")
    problems = verify_shards(shards)
    assert [p.file for p in problems] == ["tiny-000007.tar", "tiny-000000.tar", "tiny-000001.tar", "tiny-000002.tar"]
    assert "not listed" in problems[0].message
    assert "holds none of the samples" in problems[1].message
    assert "holds none of the samples" in problems[2].message
    assert "is missing" in problems[3].message
    opened = open_shards(shards)
    with pytest.raises(DamageError, match=r"tiny-000002\.tar: member .* of sample s1_talk_000003 cannot be read"):
        opened.frame(opened.sample("s1_talk_000003"))
    with pytest.raises(DamageError, match="damaged"):
        opened.read(opened.sample("s0_talk_000000"), "front.rgb.png")


@pytest.mark.parametrize("seed", range(6))
def test_a_member_removed_repeated_or_exchanged_is_named(shards: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = shards / "tiny-000000.tar"
    members = tar_members(shards / "tiny-000000.tar")
    a, b = (members[i] for i in rng.choice(len(members), 2, replace=False))
    repack(path, drop=a.name, double=b.name)
    found = {(f"{p.key}.{p.member}", p.message) for p in verify_shards(shards)}
    assert (a.name, "missing member, manifest.json lists it") in found
    assert (b.name, "duplicate member") in found


def test_two_members_of_one_size_exchanged_are_named(shards: Path) -> None:
    path = shards / "tiny-000000.tar"
    members = [m for m in tar_members(shards / "tiny-000000.tar") if m.name.endswith("front.rgb.png")][:2]
    data = bytearray(path.read_bytes())
    slots = [slice(m.offset_data, m.offset_data + min(m.size for m in members)) for m in members]
    data[slots[0]], data[slots[1]] = data[slots[1]], data[slots[0]]
    path.write_bytes(data)
    assert [f"{p.key}.{p.member}" for p in verify_shards(shards)] == [m.name for m in members]


def test_a_changed_capture_description_is_named(shards: Path) -> None:
    text = (shards / "capture.json").read_text()
    (shards / "capture.json").write_text(text.replace('"bits": 16', '"bits": 15'))
    assert [p.file for p in verify_shards(shards)] == ["capture.json"]
    (shards / "capture.json").unlink()
    (problem,) = verify_shards(shards)
    assert problem.file == "capture.json"
    assert "expected a capture description" in problem.message
    flip_bit(
        shards / "tiny-000000.tar", tar_members(shards / "tiny-000000.tar")[0].offset_data, np.random.default_rng(0)
    )
    assert [p.file for p in verify_shards(shards)] == ["capture.json", "tiny-000000.tar"], "the rest is checked still"
