"""``vrmm shards``: what a user sees and the status a script sees."""

from pathlib import Path

import pytest

from datasets.capture import ImageEncoding
from datasets.folder import write_capture_info, write_frame
from datasets.shards import build_shards
from tests.datasets.tiny_capture import TinyCapture
from tools.main import COMMANDS, run


def _vrmm(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments], COMMANDS)
    return int(stop.value.code or 0)


def test_build_verify_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = TinyCapture(subjects=2, frames=5)
    write_capture_info(tmp_path / "capture", capture.info)
    for frame in capture.frames():
        write_frame(tmp_path / "capture", frame, capture.members(frame))
    out = tmp_path / "shards"
    assert _vrmm("shards", "build", tmp_path / "capture", "--out", out, "--samples-per-shard", 4) == 0
    assert "10 frames in 3 shards" in capsys.readouterr().out
    assert _vrmm("shards", "verify", out) == 0
    assert "all as written" in capsys.readouterr().out
    assert _vrmm("shards", "info", out) == 0
    shown = capsys.readouterr().out
    for text in ("tiny", "made for tests", "2, 1 held out", "10, 2 held out", "7, 1 held out", "16x12"):
        assert text in shown
    path = out / "tiny-000001.tar"
    path.write_bytes(path.read_bytes()[:5000])
    (out / "tiny-000002.tar").unlink()
    assert _vrmm("shards", "verify", out) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny-")]
    assert len(lines) == 2
    assert "tiny-000001.tar" in lines[0]
    assert "truncated to 5000" in lines[0]
    assert lines[1] == "tiny-000002.tar: is missing"


def test_merge_and_repair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, encoding in (("olat", None), ("flat", ImageEncoding(transfer="srgb", bits=8))):
        capture = TinyCapture(subjects=2, frames=2, name=name, encoding=encoding, flat_lit=name == "flat")
        build_shards(capture, tmp_path / name, samples_per_shard=2)
    out = tmp_path / "both"
    assert _vrmm("shards", "merge", tmp_path / "olat", tmp_path / "flat", "--out", out) == 0
    assert "8 frames in 4 shards" in capsys.readouterr().out
    assert _vrmm("shards", "info", out) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "encoding linear, 16 bits; srgb, 8 bits" in shown
    assert "olat 4 frames of 2 subjects, 7 cameras (linear, 16 bits), at most 2 lamps burn, made for tests" in shown
    assert "flat 4 frames of 2 subjects, 7 cameras (srgb, 8 bits), at most 8 lamps burn, made for tests" in shown
    (out / "manifest.json").write_text("{}")
    assert _vrmm("shards", "verify", out) == 1
    assert "manifest.json" in capsys.readouterr().out
    assert _vrmm("shards", "verify", "--repair-manifest", out) == 0
    shown = capsys.readouterr().out
    assert "8 frames in 4 shards" in shown
    assert "the old one is manifest.old.json" in shown
    assert "unknown: manifest.json was unreadable" in shown
    assert _vrmm("shards", "verify", out) == 0
    (out / "flat-000001.tar").unlink()
    capsys.readouterr()
    assert _vrmm("shards", "verify", "--repair-manifest", out) == 1
    assert "flat-000001.tar: is missing: 2 samples lost" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _vrmm("shards", "build", tmp_path, "--out", tmp_path / "out") == 1
    assert "expected a capture description" in capsys.readouterr().err
    assert _vrmm("shards", "info", tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert _vrmm("shards", "verify", tmp_path) == 1


def test_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_shards(TinyCapture(subjects=2, frames=5), tmp_path)
    assert _vrmm("shards", "label", tmp_path) == 0
    assert "2 values of subject" in (shown := capsys.readouterr().out)
    assert "3 values of light_pattern" in shown
    assert (tmp_path / "labels.json").is_file()
    assert _vrmm("shards", "verify", tmp_path) == 0, "it lies beside the shards and is none of them"
