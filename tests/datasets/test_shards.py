"""Shards: anyone can read them, a build that was stopped is continued, a rebuild changes nothing."""

import dataclasses
import gc
import json
from pathlib import Path

import pytest

from datasets import shard_build
from datasets.errors import VrmmError
from datasets.frames import frame_members
from datasets.shards import build_shards, open_shards, verify_shards
from tests.datasets.shard_damage import contents
from tests.datasets.tiny_capture import PER_SHARD, TinyCapture


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


@pytest.mark.parametrize("subjects", [2, 12])  # of twelve, some have longer names
def test_keys_come_back_as_they_were(tmp_path: Path, subjects: int) -> None:
    capture = TinyCapture(subjects=subjects, frames=2)
    build_shards(capture, tmp_path, samples_per_shard=3)  # so that one has names of both lengths
    opened = open_shards(tmp_path)
    keys = [frame.key for frame in capture.frames()]
    assert [opened.key(sample) for sample in range(len(opened))] == keys
    assert [opened.sample(key) for key in keys] == list(range(len(keys)))


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
