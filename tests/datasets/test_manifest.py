"""Manifests: another language can read them, and one that is wrong is found."""

import json
import tarfile
from pathlib import Path

import pytest

from datasets.errors import VrmmError
from datasets.manifest import Manifest, manifest_bytes
from datasets.shards import DamageError, open_shards, verify_shards
from tests.datasets.shard_damage import digits, from_digits


def test_the_manifest_says_where_members_lie(built: Path) -> None:
    """Another language can read a member with the manifest alone: offset, size and checksum are the tar's own."""
    manifest = json.loads((built / "manifest.json").read_text())
    for record in manifest["shards"]:
        offsets = [512 * block for block in from_digits(record["block"])]
        sizes = from_digits(record["size"])
        with tarfile.open(built / record["name"]) as tar:
            assert [(m.offset_data, m.size) for m in tar.getmembers()] == list(zip(offsets, sizes, strict=True))


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


def test_a_manifest_of_permuted_keys_cannot_pass_for_another_frame(shards: Path) -> None:
    """The checksums agree, only the names are exchanged: the frame itself says who it is."""
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    _swap_keys(manifest)
    path.write_text(json.dumps(manifest))
    opened = open_shards(shards)
    with pytest.raises(DamageError, match="describes s0_talk_000001"):
        opened.frame(opened.sample("s0_talk_000000"))
