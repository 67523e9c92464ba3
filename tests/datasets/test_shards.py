"""Shards: anyone can read them, a rebuild changes nothing, every damage is found and named."""

import dataclasses
import gc
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import shard_build
from datasets.errors import VrmmError
from datasets.frames import frame_members
from datasets.manifest import Manifest, manifest_bytes
from datasets.shards import DamageError, build_shards, open_shards, verify_shards
from tests.datasets.shard_damage import (
    contents,
    copy_of,
    cut,
    digits,
    flip_bit,
    from_digits,
    repack,
    swap_files,
    tar_members,
)
from tests.datasets.tiny_capture import TinyCapture

PER_SHARD = 3


@pytest.fixture(scope="module")
def capture() -> TinyCapture:
    return TinyCapture(subjects=2, frames=4)


@pytest.fixture(scope="module")
def built(capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(capture, out, samples_per_shard=PER_SHARD)
    return out


@pytest.fixture
def shards(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copy_of(built, tmp_path / "copy")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves its streams to the collector
def test_webdataset_reads_every_shard(built: Path, capture: TinyCapture) -> None:
    import webdataset

    urls = [str(path) for path in sorted(built.glob("*.tar"))]
    assert len(urls) == 3
    samples = {s["__key__"]: s for s in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)}
    gc.collect()
    assert list(samples) == [frame.key for frame in capture.frames()]
    for frame in capture.frames():
        expected = {**capture.members(frame), **frame_members(frame)}
        assert {name: samples[frame.key][name] for name in expected} == expected


def test_members_are_read_at_random(built: Path, capture: TinyCapture) -> None:
    shards = open_shards(built)
    assert shards.lamps == 3
    for frame in reversed(capture.frames()):
        sample = shards.sample(frame.key)
        expected = {**capture.members(frame), **frame_members(frame)}
        assert shards.extensions(sample) == tuple(sorted(expected))
        assert {name: shards.read(sample, name) for name in expected} == expected
        assert frame_members(shards.frame(sample)) == frame_members(frame)
        assert shards.info.subjects[shards.subject[sample]] == frame.subject
        assert shards.held_out[sample] == (frame.split == "held_out")
        assert shards.image_member(sample, "front") == "front.rgb.png"
        assert shards.image_member(sample, "nobody") is None
    with pytest.raises(VrmmError, match="has no sample s0_talk_9"):
        shards.sample("s0_talk_9")
    with pytest.raises(VrmmError, match="sample s0_talk_000000 has no member nobody"):
        shards.read(0, "nobody")


def test_samples_may_hold_different_members(tmp_path: Path) -> None:
    class Uneven(TinyCapture):
        def members(self, frame):
            members = super().members(frame)
            if frame.index % 2:
                del members["front.rgb.png"]
                members["geom.npz"] = b"geometry" * frame.index
            return members

    capture = Uneven(subjects=2, frames=3)
    build_shards(capture, tmp_path, samples_per_shard=4)
    assert verify_shards(tmp_path) == []
    shards = open_shards(tmp_path)
    for sample, frame in enumerate(capture.frames()):
        for name, data in capture.members(frame).items():
            assert shards.read(sample, name) == data
        assert shards.has(sample, "geom.npz") == bool(frame.index % 2)
        assert (shards.image_member(sample, "front") is None) == bool(frame.index % 2)


def test_the_manifest_says_where_members_lie(built: Path) -> None:
    """Another language can read a member with the manifest alone: offset, size and checksum are the tar's own."""
    manifest = json.loads((built / "manifest.json").read_text())
    for record in manifest["shards"]:
        offsets = [512 * block for block in from_digits(record["block"])]
        sizes = from_digits(record["size"])
        with tarfile.open(built / record["name"]) as tar:
            assert [(m.offset_data, m.size) for m in tar.getmembers()] == list(zip(offsets, sizes, strict=True))


def test_building_again_gives_the_same_bytes_and_does_nothing(
    built: Path, capture: TinyCapture, tmp_path: Path
) -> None:
    build_shards(capture, tmp_path / "again", samples_per_shard=PER_SHARD)
    assert contents(tmp_path / "again") == contents(built)
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    build_shards(capture, built, samples_per_shard=PER_SHARD)
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


@pytest.mark.parametrize("stop_at", range(8))
def test_an_interrupted_build_is_continued(
    built: Path, capture: TinyCapture, tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping at any frame, then building again, equals an uninterrupted build; finished shards are kept."""

    class Stopped(TinyCapture):
        def members(self, frame):
            if frame.key == self.frames()[stop_at].key:
                raise KeyboardInterrupt
            return super().members(frame)

    with pytest.raises(KeyboardInterrupt):
        build_shards(Stopped(subjects=2, frames=4), tmp_path, samples_per_shard=PER_SHARD)
    with pytest.raises(VrmmError, match="no finished shards"):
        open_shards(tmp_path)
    finished = len(list(tmp_path.glob("*.tar")))
    assert finished == stop_at // PER_SHARD
    written = []
    write = shard_build._write_shard
    monkeypatch.setattr(shard_build, "_write_shard", lambda *args: written.append(args[2].name) or write(*args))
    build_shards(capture, tmp_path, samples_per_shard=PER_SHARD)
    assert len(written) == 3 - finished
    assert contents(tmp_path) == contents(built)


def test_a_kill_between_shard_and_journal_costs_one_shard(built: Path, capture: TinyCapture, tmp_path: Path) -> None:
    """The journal may end in a torn line, and the shard after it may be there already."""
    (tmp_path / "capture.json").write_bytes((built / "capture.json").read_bytes())
    for path in built.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ".tiny-000001.tar.x.tmp").write_bytes(b"torn")
    line = json.dumps(json.loads((built / "manifest.json").read_text())["shards"][0])
    (tmp_path / ".build.jsonl").write_text(line + "\n" + line[: len(line) // 2])
    build_shards(capture, tmp_path, samples_per_shard=PER_SHARD)
    assert contents(tmp_path) == contents(built)


def test_shards_of_something_else_are_never_overwritten(shards: Path, capture: TinyCapture) -> None:
    before = contents(shards)
    with pytest.raises(VrmmError, match="another capture or shard size"):
        build_shards(capture, shards, samples_per_shard=PER_SHARD + 1)
    with pytest.raises(VrmmError, match="another capture or shard size"):
        build_shards(capture, shards, samples_per_shard=100)
    with pytest.raises(VrmmError, match="another capture or shard size"):
        build_shards(TinyCapture(subjects=3, frames=4), shards, samples_per_shard=PER_SHARD)

    class Relit(TinyCapture):
        def frames(self):
            first, *rest = super().frames()
            return [dataclasses.replace(first, light=first.light.scaled(2.0)), *rest]

    with pytest.raises(VrmmError, match="frame s0_talk_000000 has changed since"):
        build_shards(Relit(subjects=2, frames=4), shards, samples_per_shard=PER_SHARD)
    assert contents(shards) == before


def test_two_builds_at_once_are_refused(capture: TinyCapture, tmp_path: Path) -> None:
    class Nested(TinyCapture):
        def members(self, frame):
            with pytest.raises(VrmmError, match="another build is writing"):
                build_shards(capture, tmp_path)
            return super().members(frame)

    build_shards(Nested(subjects=1, frames=1, splits=False), tmp_path)


def test_a_full_disk_leaves_no_part_of_a_shard(capture: TinyCapture, tmp_path: Path) -> None:
    class Full(TinyCapture):
        def members(self, frame):
            if frame.index == 3:
                raise OSError(28, "No space left on device")
            return super().members(frame)

    with pytest.raises(VrmmError, match=r"cannot write .*tiny-000001\.tar: No space left"):
        build_shards(Full(subjects=2, frames=4), tmp_path, samples_per_shard=PER_SHARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".build.jsonl", "capture.json", "tiny-000000.tar"]


def test_names_that_a_shard_cannot_hold(tmp_path: Path) -> None:
    class Named(TinyCapture):
        extension = ""

        def members(self, frame):
            return {**super().members(frame), self.extension: b""}

    for extension in ("_hidden", "a/b", "x" * 100, "FRONT.rgb.png", "other.rgb.png", ".dot"):
        capture = Named(subjects=1, frames=1)
        capture.extension = extension
        with pytest.raises(VrmmError, match="s0_talk_000000"):
            build_shards(capture, tmp_path / str(len(extension)))

    class Accented(TinyCapture):
        def frames(self):
            return [dataclasses.replace(frame, sequence="naïve") for frame in super().frames()]

    with pytest.raises(VrmmError, match="naïve.* cannot be a tar member: 100 ASCII characters"):
        build_shards(Accented(subjects=1, frames=1), tmp_path / "accent")

    class Twice(TinyCapture):
        def frames(self):
            return [*super().frames(), super().frames()[0]]

    with pytest.raises(VrmmError, match="two frames of key s0_talk_000000"):
        build_shards(Twice(), tmp_path / "twice")
    with pytest.raises(VrmmError, match="has no frames"):
        build_shards(TinyCapture(frames=0), tmp_path / "none")


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


def _swap_keys(manifest: dict) -> None:
    first, second, *others = manifest["shards"][0]["keys"].split()
    manifest["shards"][0]["keys"] = " ".join([second, first, *others])


def _double_key(manifest: dict) -> None:
    _, *others = manifest["shards"][2]["keys"].split()
    manifest["shards"][2]["keys"] = " ".join([manifest["shards"][0]["keys"].split()[0], *others])


def _hide_member(manifest: dict) -> None:
    shard = manifest["shards"][0]
    shard["layouts"] += [shard["layouts"][0][:-1]]
    shard["layout"] = shard["layout"][:-8] + digits([len(shard["layouts"]) - 1])
    for field in ("block", "size", "crc32"):
        shard[field] = shard[field][:-8]


def _set(field: str, value: object):
    return lambda manifest: manifest["shards"][1].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_swap_keys, "tiny-000000.tar: sample s0_talk_000000"),
        (_double_key, "tiny-000002.tar: sample s0_talk_000000: duplicate key"),
        (_hide_member, "sample s0_talk_000002, top.rgb.png: is not listed"),
        (_set("subject", digits([0, 1, 0])), "says number 0"),
        (_set("subject", digits([0, 1, 9])), "says number 9"),
        (_set("held_out", digits([1, 0, 0])), "says held_out 1"),
        (_set("lamps", 1), "lamps, but manifest.json says 1"),
        (_set("sha256", "0" * 64), "manifest.json: has a wrong SHA-256 of tiny-000001.tar"),
        (_set("samples", 2), "is damaged"),
        (_set("crc32", "00"), "is damaged"),
        (_set("block", "zz"), "is damaged"),
        (_set("bytes", 10000), "lists a member outside its 10000 bytes"),
        (_set("layout", digits([0, 0, 5])), "is damaged"),
        (_set("name", "tiny-000000.tar"), "lists tiny-000000.tar twice"),
        (lambda m: m["shards"].pop(), "tiny-000002.tar: is not listed"),
        (lambda m: m.update(capture="other"), "manifest.json: is of capture other"),
        (lambda m: m.update(schema_version=99), "not a shard manifest of version 2"),
        (lambda m: m.pop("shards"), "is damaged"),
    ],
)
def test_a_wrong_manifest_is_found(shards: Path, change, expected: str) -> None:
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    problems = "\n".join(str(problem) for problem in verify_shards(shards))
    assert expected in problems


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["shards"][0].update(crc32="0" * 8 + m["shards"][0]["crc32"][8:]),
        lambda m: m["shards"][0].update(sha256="0" * 64),
        lambda m: m["shards"][0].update(lamps=7),
        lambda m: m["shards"][0].update(bytes=m["shards"][0]["bytes"] + 512),
        lambda m: _swap_keys(m),
    ],
)
def test_a_sound_shard_is_not_blamed_for_its_manifest(shards: Path, change) -> None:
    """Whoever reads the finding must know which of the two to copy again."""
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    assert any(
        p.file == "manifest.json" and "tiny-000000.tar" in p.message and "--repair-manifest" in p.message
        for p in verify_shards(shards)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda shard: shard.update(name="../outside.tar"),
        lambda shard: shard.update(name="sub/inside.tar"),
        lambda shard: shard.update(name=None),
        lambda shard: shard.update(subject=[0, 1, 0]),
        lambda shard: shard.update(subject="00"),
        lambda shard: shard.update(layout=digits([0, 0, 9])),
        lambda shard: shard.update(held_out=digits([0, 2, 0])),
        lambda shard: shard.update(keys=[1, 2, 3]),
        lambda shard: shard.update(keys="s0_talk_000000"),
        lambda shard: shard.update(block=digits([0]) + shard["block"][8:]),
        lambda shard: shard.update(lamps=-1),
        lambda shard: shard.update(bytes=1e400),
        lambda shard: shard.update(crc32=None),
    ],
)
def test_a_manifest_that_makes_no_sense_is_not_opened(shards: Path, change) -> None:
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["shards"][0])
    path.write_text(json.dumps(manifest))
    with pytest.raises(VrmmError, match=r"manifest\.json is damaged .*--repair-manifest"):
        open_shards(shards)


def test_a_gap_in_the_numbers_is_named_even_if_the_manifest_hides_it(shards: Path) -> None:
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["shards"][:2]
    path.write_bytes(manifest_bytes(Manifest.from_json(manifest)))
    for number in (0, 1):
        (shards / f"tiny-00000{number}.tar").unlink()
    assert [str(problem) for problem in verify_shards(shards)] == [
        "tiny-000000.tar: is missing with 1 more after it: not listed in manifest.json, though later shards are"
    ]


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


def test_a_manifest_of_permuted_keys_cannot_pass_for_another_frame(shards: Path) -> None:
    """The checksums agree, only the names are exchanged: the frame itself says who it is."""
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    _swap_keys(manifest)
    path.write_text(json.dumps(manifest))
    opened = open_shards(shards)
    with pytest.raises(DamageError, match="describes s0_talk_000001"):
        opened.frame(opened.sample("s0_talk_000000"))
