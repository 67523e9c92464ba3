"""Outputs: what players and programs get, and that nothing half-written is ever seen."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.errors import VrmmError
from datasets.lightstage.bitmaps import read_bitmap
from tools.shows.output import Format, Outputs, Picture

SIZE = 32


def picture(index: int, size: int = SIZE) -> Picture:
    """A grey that grows, with a mark in the upper left; linear values beyond 1."""
    display = np.full((size, size, 3), 40 + 10 * index, np.uint8)
    display[:4, :8] = (250, 20, 20)
    linear = torch.full((4, size, size), 1.5 + index)
    linear[0, 0, 1] = 7.25
    return Picture(display=display, linear=linear, caption=f"at {index}")


def write(paths: list[Path], *, frames: int = 6, fps: float = 24.0, exr: Path | None = None, cells: int = 3) -> None:
    outputs = Outputs(paths, Format(frames=frames, fps=fps, cells=cells), exr=exr)
    outputs.check(SIZE, SIZE)
    with outputs:
        for index in range(frames):
            outputs.add(picture(index))


def test_one_pass_writes_every_kind(tmp_path: Path) -> None:
    write([tmp_path / name for name in ("a.mp4", "a.gif", "a.png", "frames")], exr=tmp_path / "linear")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4", "a.png", "frames", "linear"]
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert len(list(container.decode(video=0))) == 6
    stored = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").iterdir())]
    assert [frame[-1, -1, 0] for frame in stored] == [40, 50, 60, 70, 80, 90]
    assert tuple(stored[0][0, 0]) == (250, 20, 20)


def test_a_gif_keeps_time_and_repeats(tmp_path: Path) -> None:
    """Its clock ticks in hundredths, so 24 frames a second need 4 and 5 ticks in turn; a second stays a second."""
    write([tmp_path / "a.gif"], frames=12)
    with Image.open(tmp_path / "a.gif") as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
            assert abs(int(np.asarray(gif.convert("RGB"))[-1, -1, 0]) - (40 + 10 * index)) <= 2
        assert len(durations) == 12
        assert sum(durations) == 500
        assert gif.info["loop"] == 0


def test_exr_is_linear_and_has_alpha(tmp_path: Path) -> None:
    write([], frames=2, exr=tmp_path / "linear")
    pixels = np.array(read_bitmap(tmp_path / "linear" / "frame_000001.exr"))
    assert pixels.dtype == np.float32
    assert pixels.shape == (SIZE, SIZE, 4)
    assert pixels[0, 1, 0] == 7.25, "neither clipped nor encoded, the first row on top"
    assert (pixels[..., 3] == 2.5).all()


def test_a_contact_sheet_spreads_over_the_show(tmp_path: Path) -> None:
    write([tmp_path / "a.png"], frames=18, cells=3)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    reds = (sheet == (250, 20, 20)).all(axis=2)
    assert reds.any(axis=0).sum() >= 3 * 6
    greys = {40 + 10 * index for index in (3, 9, 15)}
    assert all((sheet == grey).all(axis=2).sum() > 300 for grey in greys)


def interrupted(outputs: Outputs) -> None:
    with outputs:
        for index in range(3):
            outputs.add(picture(index))
        raise KeyboardInterrupt


def test_an_interrupted_show_leaves_what_was_there(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.mp4", "a.gif", "a.png", "frames")]
    write(paths, frames=2, exr=tmp_path / "linear")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        interrupted(Outputs(paths, Format(frames=6, fps=24.0), exr=tmp_path / "linear"))
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_second_show_replaces_all_of_the_first(tmp_path: Path) -> None:
    write([tmp_path / "frames"], frames=6)
    write([tmp_path / "frames"], frames=2)
    assert len(list((tmp_path / "frames").iterdir())) == 2


def test_the_same_show_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write([tmp_path / f"{name}.mp4", tmp_path / f"{name}.gif", tmp_path / f"{name}.png"])
    for suffix in (".mp4", ".gif", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    form = Format(frames=2, fps=24.0)
    with pytest.raises(VrmmError, match=r"no output of kind \.avi"):
        Outputs([tmp_path / "a.avi"], form)
    with pytest.raises(VrmmError, match="named twice"):
        Outputs([tmp_path / "a.mp4", tmp_path / "b" / ".." / "a.mp4"], form)
    with pytest.raises(VrmmError, match="nothing to write"):
        Outputs([], form)
    with pytest.raises(VrmmError, match="even size"):
        Outputs([tmp_path / "a.mp4"], form).check(33, 32)
    keep = tmp_path / "thesis"
    keep.mkdir()
    (keep / "chapter.tex").touch()
    with pytest.raises(VrmmError, match=r"thesis holds chapter\.tex"):
        Outputs([keep], form).check(32, 32)
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(VrmmError, match="in the way: a folder"):
        Outputs([tmp_path / "v.mp4"], form).check(32, 32)
    (tmp_path / "plain").touch()
    with pytest.raises(VrmmError, match="in the way: a file"):
        Outputs([tmp_path / "plain"], form).check(32, 32)
