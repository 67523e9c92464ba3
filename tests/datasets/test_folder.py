"""A capture on disk: what is written is read, frames are whole or absent, the order is fixed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from datasets import folder as folder_module
from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.folder import FolderCapture, write_capture_info, write_frame
from datasets.frames import frame_members
from tests.datasets.tiny_capture import TinyCapture


def _write(capture: TinyCapture, folder: Path) -> None:
    write_capture_info(folder, capture.info)
    for frame in reversed(capture.frames()):  # the disk's order must not matter
        write_frame(folder, frame, capture.members(frame))


def test_what_is_written_is_read_in_capture_order(tmp_path: Path) -> None:
    capture = TinyCapture(subjects=2, frames=3)
    info = dataclasses.replace(capture.info, subjects=("s1", "s0"))
    _write(capture, tmp_path)
    write_capture_info(tmp_path, info)
    back = FolderCapture(tmp_path)
    assert back.info.to_json() == info.to_json()
    expected = [*capture.frames()[3:], *capture.frames()[:3]]  # subjects in the order of capture.json
    assert [frame.key for frame in back.frames()] == [frame.key for frame in expected]
    for mine, theirs in zip(back.frames(), expected, strict=True):
        assert frame_members(mine) == frame_members(theirs)
        assert back.members(mine) == capture.members(theirs)


def test_index_orders_by_number(tmp_path: Path) -> None:
    frame = TinyCapture().frames()[0]
    write_capture_info(tmp_path, TinyCapture().info)
    for index in (1_000_000, 2, 999_999):
        write_frame(tmp_path, dataclasses.replace(frame, index=index), {})
    assert [frame.index for frame in FolderCapture(tmp_path).frames()] == [2, 999_999, 1_000_000]


def test_a_frame_that_cannot_be_finished_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = TinyCapture()
    first, second = capture.frames()[:2]
    write_capture_info(tmp_path, capture.info)
    write_frame(tmp_path, first, {"a": b"1"})
    whole = folder_module._write_synced

    def full_disk(path: Path, data: bytes) -> None:
        if path.name.endswith("back.rgb.png"):
            raise OSError(28, "No space left on device")
        whole(path, data)

    monkeypatch.setattr(folder_module, "_write_synced", full_disk)
    with pytest.raises(VrmmError, match=rf"cannot write frame {second.key}.*No space left"):
        write_frame(tmp_path, second, capture.members(second))
    assert FolderCapture(tmp_path).has_frame(first.key)
    assert not FolderCapture(tmp_path).has_frame(second.key)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [first.key]


def test_a_killed_writers_leftover_is_no_frame(tmp_path: Path) -> None:
    capture = TinyCapture()
    frame = capture.frames()[0]
    write_capture_info(tmp_path, capture.info)
    leftover = tmp_path / "frames" / f".{frame.key}.tmp"
    leftover.mkdir(parents=True)
    (leftover / "old.rgb.png").write_bytes(b"torn")
    assert list(FolderCapture(tmp_path).frames()) == []
    write_frame(tmp_path, frame, {"a": b"1"})
    assert FolderCapture(tmp_path).members(frame) == {"a": b"1"}
    assert not leftover.exists()


def test_writing_a_frame_again_replaces_it(tmp_path: Path) -> None:
    frame = TinyCapture().frames()[0]
    write_capture_info(tmp_path, TinyCapture().info)
    write_frame(tmp_path, frame, {"a": b"1", "b": b"2"})
    write_frame(tmp_path, frame, {"a": b"3"})
    assert FolderCapture(tmp_path).members(frame) == {"a": b"3"}


def test_problems_are_named(tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="expected a capture description"):
        FolderCapture(tmp_path / "nothing")
    capture = TinyCapture()
    frame = capture.frames()[0]
    write_capture_info(tmp_path, capture.info)
    with pytest.raises(VrmmError, match=f"has no frame {frame.key}"):
        FolderCapture(tmp_path).members(frame)
    stranger = dataclasses.replace(frame, subject="stranger")
    write_frame(tmp_path, stranger, {})
    with pytest.raises(VrmmError, match=rf"frame {stranger.key} is of a subject that .* does not list"):
        FolderCapture(tmp_path).frames()
    (tmp_path / "frames" / stranger.key).rename(tmp_path / "frames" / "moved")
    with pytest.raises(VrmmError, match=f"describes frame {stranger.key}"):
        FolderCapture(tmp_path).frames()


def test_a_camera_with_a_broken_calibration_is_refused(tmp_path: Path) -> None:
    capture = TinyCapture()
    broken = dataclasses.replace(capture.info.cameras[0], name="b", world_to_camera=np.ones((3, 4)))
    write_capture_info(tmp_path, dataclasses.replace(capture.info, cameras=(broken,)))
    path = tmp_path / "capture.json"
    path.write_text(path.read_text().replace("1.0", "NaN", 1))
    with pytest.raises(VrmmError, match="NaN or infinity"):
        FolderCapture(tmp_path)


def test_frames_are_read_once(tmp_path: Path) -> None:
    capture = TinyCapture()
    _write(capture, tmp_path)
    back = FolderCapture(tmp_path)
    frames: list[Frame] = list(back.frames())
    write_frame(tmp_path, dataclasses.replace(frames[0], index=99), {})
    assert list(back.frames()) == frames, "the list must not change under a build that runs"
