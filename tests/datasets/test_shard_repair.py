"""A manifest made from the tars: equal to the lost one where all is sound, and never a blessing of damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shard_merge import merge_shards
from datasets.shard_repair import repair_manifest
from datasets.shards import build_shards, open_shards, verify_shards
from tests.datasets.shard_damage import contents, cut, digits, flip_bit, repack, swap_files, tar_members
from tests.datasets.tiny_capture import TinyCapture


def _keys(folder: Path) -> list[str]:
    opened = open_shards(folder)
    return [opened.key(sample) for sample in range(len(opened))]


def test_a_lost_manifest_comes_back_as_it_was(shards: Path, built: Path) -> None:
    (shards / "manifest.json").unlink()
    calls: list[tuple[int, int]] = []
    repair = repair_manifest(shards, lambda done, total: calls.append((done, total)))
    assert contents(shards) == contents(built)
    assert (repair.kept, repair.left_out) == (None, ())
    assert calls[-1][0] == calls[-1][1] > 0
    told = "\n".join(repair.unknown)
    assert "there was no manifest.json: shards missing at the end" in told
    assert "whether capture.json is the one that the shards were built with cannot be told" in told
    assert "tiny-000000.tar: 3 members (json) have no checksum to tell whether they changed" in told
    again = repair_manifest(shards)
    assert (again.kept, again.left_out, again.unknown) == (None, (), ())
    assert contents(shards) == contents(built)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("shards"),
        lambda m: m["shards"].pop(),
        lambda m: m["shards"].reverse(),
        lambda m: m["shards"][0].update(crc32="0" * 8 + m["shards"][0]["crc32"][8:]),
        lambda m: m["shards"][0].update(sha256="0" * 64),
        lambda m: m["shards"][0].update(subject=digits([1, 1, 1]), held_out=digits([1, 1, 1]), lamps=9),
        lambda m: m["shards"][0].update(keys=" ".join(reversed(m["shards"][0]["keys"].split()))),
        lambda m: m.update(capture_sha256="0" * 64),
        lambda m: m.update(capture="other"),
    ],
)
def test_a_wrong_manifest_is_put_right_and_kept(shards: Path, built: Path, change) -> None:
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    wrong = path.read_bytes()
    repair = repair_manifest(shards)
    assert repair.left_out == ()
    assert repair.kept == shards / "manifest.old.json"
    assert repair.kept.read_bytes() == wrong
    repair.kept.unlink()
    assert contents(shards) == contents(built)


def test_no_old_manifest_is_ever_overwritten(shards: Path) -> None:
    path = shards / "manifest.json"
    for number, name in enumerate(("manifest.old.json", "manifest.old2.json", "manifest.old3.json")):
        path.write_text(f"not JSON {number}")
        assert repair_manifest(shards).kept == shards / name
    assert (shards / "manifest.old.json").read_text() == "not JSON 0"


def test_a_merged_set_is_repaired_with_its_own_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_shards(TinyCapture(subjects=2, frames=2, name=name, turn=len(name) + ord(name)), tmp_path / name)
    merge_shards([tmp_path / "a", tmp_path / "b"], tmp_path / "both", same_subjects=True)
    before = contents(tmp_path / "both")
    (tmp_path / "both" / "manifest.json").unlink()
    assert repair_manifest(tmp_path / "both").left_out == ()
    assert contents(tmp_path / "both") == before


@pytest.mark.parametrize("old", [True, False])
def test_damaged_samples_are_left_out_by_name_and_stay_found(shards: Path, built: Path, old: bool) -> None:
    """A repair must not make damage look sound, with or without the old checksums."""
    rng = np.random.default_rng(1)
    first, second = shards / "tiny-000000.tar", shards / "tiny-000001.tar"
    picture = next(m for m in tar_members(first) if m.name == "s0_talk_000001.front.rgb.png")
    flip_bit(first, picture.offset_data + 60, rng)
    lamps = next(m for m in tar_members(first) if m.name == "s0_talk_000002.light.npz")
    flip_bit(first, lamps.offset_data + 200, rng)
    last = next(m for m in tar_members(second) if m.name == "s1_talk_000001.front.rgb.png")
    cut(second, last.offset_data + 5)
    (shards / "tiny-000002.tar").unlink()
    if not old:
        (shards / "manifest.json").unlink()
    repair = repair_manifest(shards)
    assert _keys(shards) == ["s0_talk_000000", "s0_talk_000003", "s1_talk_000000"]
    found = [str(problem) for problem in repair.left_out]
    whose = "checksum differs" if old else "its own checksum differs"
    expected = [
        f"tiny-000000.tar: sample s0_talk_000001: left out: front.rgb.png is damaged ({'the' * old or 'its own'} ",
        f"tiny-000000.tar: sample s0_talk_000002: left out: light.npz is damaged ({'the' * old or 'its own'} ",
        "tiny-000001.tar: sample s1_talk_000001: left out: ",
        *(["tiny-000002.tar: is missing: 2 samples lost"] if old else []),
    ]
    assert len(found) == len(expected)
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start), text
    assert whose in found[0]
    assert "tiny-000001.tar has no end" in "\n".join(repair.unknown)
    named = "\n".join(str(problem) for problem in verify_shards(shards))
    for key in ("s0_talk_000001", "s0_talk_000002", "s1_talk_000001"):
        assert f"sample {key}" in named, "what was left out is found still"
    loader = FrameLoader(LoaderConfig(shards=str(shards), batch_frames=1))
    assert loader.frames == 2


def test_a_lost_header_is_passed_and_told(shards: Path) -> None:
    """The members after it come back; that one is lost, and nobody but the old manifest knew its name."""
    path = shards / "tiny-000000.tar"
    member = next(m for m in tar_members(path) if m.name == "s0_talk_000001.front.rgb.png")
    flip_bit(path, member.offset + 20, np.random.default_rng(0))
    old = (shards / "manifest.json").read_bytes()
    repair = repair_manifest(shards)
    assert [str(problem) for problem in repair.left_out] == [
        "tiny-000000.tar: sample s0_talk_000001: left out: front.rgb.png is lost"
    ]
    (shards / "manifest.json").write_bytes(b"")
    repair = repair_manifest(shards)
    assert repair.left_out == ()
    span = f"{member.offset} to {member.offset + 512 + -(-member.size // 512) * 512}"
    assert f"tiny-000000.tar has no tar header at bytes {span}: members there are lost" in repair.unknown
    opened = open_shards(shards)
    assert opened.image_member(opened.sample("s0_talk_000001"), "front") is None
    (shards / "manifest.json").write_bytes(old)


def test_doubled_and_foreign_samples_are_left_out(shards: Path, capture: TinyCapture) -> None:
    repack(shards / "tiny-000000.tar", double="s0_talk_000001.top.rgb.png", drop="s0_talk_000002.meta.json")
    (shards / "tiny-000001.tar").write_bytes((shards / "tiny-000002.tar").read_bytes())
    (shards / "manifest.json").unlink()
    repair = repair_manifest(shards)
    found = [str(problem) for problem in repair.left_out]
    assert found[0] == "tiny-000000.tar: sample s0_talk_000001: left out: has a member twice"
    assert "s0_talk_000002: left out: it lacks meta.json" in found[1]
    assert [text.partition("left out: ")[2] for text in found[2:]] == [
        "duplicate key, it is also in tiny-000001.tar",
        "duplicate key, it is also in tiny-000001.tar",
    ]
    info = json.loads((shards / "capture.json").read_text())
    info["subjects"], info["subject_splits"] = ["s1"], {"s1": "train"}
    (shards / "capture.json").write_text(json.dumps(info))
    found = [str(problem) for problem in repair_manifest(shards).left_out]
    assert "tiny-000000.tar: sample s0_talk_000000: left out: is of subject s0, which capture.json lacks" in found


def test_a_manifest_of_other_shards_is_not_believed(shards: Path, built: Path, tmp_path: Path) -> None:
    other = TinyCapture(subjects=2, frames=4, encoding=ImageEncoding(bits=8), masks=False)  # other bytes
    build_shards(other, tmp_path / "other", samples_per_shard=3)
    for number in range(3):
        swap_files(shards / f"tiny-00000{number}.tar", tmp_path / "other" / f"tiny-00000{number}.tar")
    swap_files(shards / "tiny-000000.tar", shards / "tiny-000001.tar")
    repair = repair_manifest(shards)
    assert [str(problem) for problem in repair.left_out] == []
    told = "tiny-000000.tar holds hardly anything that manifest.json listed, so it was not believed"
    assert told in repair.unknown
    assert sorted(_keys(shards)) == sorted(_keys(built))
    assert verify_shards(shards) == []


def test_a_shard_can_be_built_again_after_a_repair(shards: Path, built: Path, capture: TinyCapture) -> None:
    cut(shards / "tiny-000001.tar", 3000)
    repair_manifest(shards)
    (shards / "tiny-000001.tar").unlink()
    (shards / "manifest.old.json").unlink()
    build_shards(capture, shards, samples_per_shard=3)
    assert contents(shards) == contents(built)


def test_what_cannot_be_repaired_is_one_error(shards: Path, tmp_path: Path) -> None:
    (shards / ".build.jsonl").write_text("")
    with pytest.raises(VrmmError, match="unfinished build"):
        repair_manifest(shards)
    (shards / ".build.jsonl").unlink()
    text = (shards / "capture.json").read_text()
    (shards / "capture.json").unlink()
    with pytest.raises(VrmmError, match="expected a capture description"):
        repair_manifest(shards)
    (shards / "capture.json").write_text(text)
    before = (shards / "manifest.json").read_bytes()
    for path in shards.glob("*.tar"):
        path.write_bytes(b"\0" * 2048)
    with pytest.raises(VrmmError, match="holds no sound sample"):
        repair_manifest(shards)
    (shards / "manifest.json").unlink()
    with pytest.raises(VrmmError, match=r"holds no sound sample.*tiny-000000\.tar: holds nothing"):
        repair_manifest(shards)
    (shards / "manifest.json").write_bytes(before)
    for path in shards.glob("*.tar"):
        path.unlink()
    with pytest.raises(VrmmError, match="holds no tars"):
        repair_manifest(shards)
    assert (shards / "manifest.json").read_bytes() == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_listed_is_what_is_sound(shards: Path, built: Path, data: st.DataObject) -> None:
    """Whatever happened to a tar: what is listed is what was written, and only what was hit is left out."""
    path = data.draw(st.sampled_from(sorted(shards.glob("*.tar"))))
    before, old = contents(shards), data.draw(st.booleans())
    length = len(before[path.name])
    place = data.draw(st.integers(0, length - 1))
    flipped = data.draw(st.booleans())
    if flipped:
        flip_bit(path, place, np.random.default_rng(place))
    else:
        cut(path, place)
    if not old:
        (shards / "manifest.json").unlink()
    repair_manifest(shards)
    opened, sound = open_shards(shards), open_shards(built)
    listed = set(_keys(shards))
    for key in listed:
        for name in opened.extensions(opened.sample(key)):
            if old or name.endswith(".png"):  # a JSON member has no checksum of its own, nor all of a zip's headers
                assert opened.read(opened.sample(key), name) == sound.read(sound.sample(key), name)
    hit = {
        m.name.partition(".")[0]
        for m in tar_members(built / path.name)
        if (m.offset <= place < m.offset_data + -(-m.size // 512) * 512 if flipped else m.offset_data + m.size > place)
    }
    keys = [key for key in _keys(built) if key in {m.name.partition(".")[0] for m in tar_members(built / path.name)}]
    if not flipped and not old:
        whole = [key for key in keys if key not in hit]
        hit |= set(whole[-1:])  # the last before a cut may have had more members, for all that the tar tells
    assert listed >= set(_keys(built)) - hit
    for name, content in before.items():
        (shards / name).write_bytes(content)
    (shards / "manifest.old.json").unlink(missing_ok=True)
