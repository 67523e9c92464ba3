"""What people bring that cannot work: one clear line each from the commands themselves, before any work, and no file.

Browsers without WebGL are in tests/integration/test_viewer_browser.py and test_export_browser.py.
"""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from datasets.lightstage.bitmaps import write_bitmap
from fitting.avatar import prior_sha256
from fitting.drivervideo import write_video_landmarks
from tests.tools.shows.people import make_avatar, make_run
from tests.tools.viewer.made_up_run import make_run as make_viewed
from tools.main import COMMANDS, build_app
from tools.video import write_video

SHORT = ("--seconds", "0.25", "--fps", "8", "--size", "16")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("bad") / "run")


@pytest.fixture(scope="module")
def avatar(run: Path) -> Path:
    make_avatar(run.parent / "ada", prior_sha256(run))
    return run.parent / "ada"


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_viewed(tmp_path_factory.mktemp("viewed"))


def refuse(*arguments: object) -> str:
    """The one line."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(build_app(COMMANDS, words[0]), words)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (-0.1, "negative radiance")])
def test_an_impossible_environment_map(run: Path, viewed: Path, tmp_path: Path, value: float, message: str) -> None:
    radiance = np.full((16, 32, 3), 0.2, np.float32)
    radiance[3, 3, 1] = value
    write_bitmap(tmp_path / "sky.exr", radiance)
    out = tmp_path / "out.png"
    for words in (
        ("relight", run, "--light", tmp_path / "sky.exr", "--out", out, *SHORT),
        ("view", viewed, "--light=environment", f"--environment={tmp_path / 'sky.exr'}", f"--render={out}"),
        ("view", viewed, "--light=environment", f"--environment={tmp_path / 'sky.exr'}", "--port=0"),
    ):
        line = refuse(*words)
        assert "sky.exr: " in line
        assert message in line
    assert not out.exists()


def test_a_driver_video_without_a_face(run: Path, tmp_path: Path) -> None:
    video = tmp_path / "wall.mp4"
    write_video(video, [np.full((32, 32, 3), 90, np.uint8)] * 4, 8)
    words = ("animate", run, "--from", video, "--out", tmp_path / "out.png", "--size", "16")
    assert "wall.mp4 has no landmarks: put wall.lmk.npz" in refuse(*words)
    write_video_landmarks(video, np.full((4, 68, 2), np.nan))
    assert "wall.mp4 shows no face" in refuse(*words)
    assert not (tmp_path / "out.png").exists()


def test_an_avatar_of_another_version(run: Path, avatar: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(avatar, tmp_path / "old"))
    description = json.loads((old / "avatar.json").read_text())
    (old / "avatar.json").write_text(json.dumps({**description, "version": 99}))
    out = tmp_path / "out.png"
    for words in (
        ("relight", old, "--out", out, *SHORT),
        ("interpolate", f"{run}:s0", old, "--out", out, *SHORT),
        ("animate", run, "--from", old, "--out", out, "--size", "16"),
        ("view", old, f"--render={out}"),
        ("export", old, "--format", "glb", "--out", out),
        ("report", old, "--out", out),
    ):
        assert "is of version 99; this vrmm reads 1" in refuse(*words), words[0]
    assert not out.exists()


def test_a_port_in_use(viewed: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in refuse("view", viewed, f"--port={port}", "--threads=1")
