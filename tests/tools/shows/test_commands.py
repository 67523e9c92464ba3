"""The commands as users call them, on a tiny run."""

import dataclasses
import itertools
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from datasets.errors import VrmmError
from datasets.folder import write_capture_info, write_frame
from fitting.avatar import prior_sha256
from prior.animation import AnimationCurve
from tests.datasets.tiny_capture import TinyCapture
from tests.prior.mirror_stage import make_run as make_trained
from tests.tools.shows.people import make_avatar, make_run
from tools.main import COMMANDS, build_app
from tools.report.command import report
from tools.shows.moves import CameraMove
from tools.shows.options import ShowOptions
from tools.shows.program import Program

ROOT = Path(__file__).parents[3]
SHORT = ["--seconds", "0.25", "--fps", "8", "--size", "16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("shows") / "run")


@pytest.fixture(scope="module")
def avatar(run: Path) -> Path:
    make_avatar(run.parent / "ada", prior_sha256(run), tuned=0.05)
    return run.parent / "ada"


def call(*arguments: object) -> str:
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(build_app(COMMANDS, words[0]), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refuse(*arguments: object) -> str:
    """The one line of a command that cannot do what it is asked for."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(build_app(COMMANDS, words[0]), words)
    assert result.exit_code == 1, result.output
    line = result.output.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_interpolate_writes_the_same_file_twice(run: Path, avatar: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        out = tmp_path / f"{name}.mp4"
        text = call("interpolate", f"{run}:s0", avatar, f"{run}:random", "--out", out, *SHORT, "--expression", "wander")
        assert "2 frames" in text
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    call("interpolate", f"{run}:s0", avatar, f"{run}:random", "--out", tmp_path / "c.mp4", *SHORT, "--seed", 5)
    assert (tmp_path / "c.mp4").read_bytes() != (tmp_path / "a.mp4").read_bytes()


def test_relight_shows_people_side_by_side(run: Path, avatar: Path, tmp_path: Path) -> None:
    call("relight", run, avatar, "--out", tmp_path / "f", "--light", "olat", *SHORT)
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "f").iterdir())]
    assert [picture.shape for picture in pictures] == [(16, 32, 3)] * 2
    assert (pictures[0] != pictures[1]).any()


def test_sample_shows_as_many_heads_as_asked_for(run: Path, tmp_path: Path) -> None:
    call("sample", run, "--count", 3, "--out", tmp_path / "f", "--seconds", 0.375, "--fps", 8, "--size", 16)
    pictures = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "f").iterdir())]
    assert len(pictures) == 3
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))


def test_an_animation_curve_drives_anyone(run: Path, avatar: Path, tmp_path: Path) -> None:
    angle = torch.tensor([0.0, 0.6])
    turn = torch.stack(
        [torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]]) for c, s in zip(angle.cos(), angle.sin(), strict=True)]
    )
    codes = torch.zeros(2, 6)
    codes[1] = 1.5
    AnimationCurve(expression=codes, rotation=turn, translation=torch.zeros(2, 3), fps=8.0).save(tmp_path / "c.npz")
    still = ["--fps", "8", "--size", "24"]
    call("animate", avatar, "--from", tmp_path / "c.npz", "--out", tmp_path / "moved", *still)
    call("animate", avatar, "--from", tmp_path / "c.npz", "--out", tmp_path / "still", "--no-motion", *still)
    moved, still_ = (
        [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / name).iterdir())]
        for name in ("moved", "still")
    )
    assert len(moved) == 2
    np.testing.assert_array_equal(moved[0], still_[0])
    assert np.abs(moved[1] - still_[1]).mean() > 1.0, "only the head's motion differs"
    assert np.abs(still_[1] - still_[0]).mean() > 1.0, "only the expression differs"
    wrong = AnimationCurve(expression=torch.zeros(2, 5), rotation=turn, translation=torch.zeros(2, 3), fps=8.0)
    wrong.save(tmp_path / "w.npz")
    assert "belongs to another prior" in refuse(
        "animate", run, "--from", tmp_path / "w.npz", "--out", tmp_path / "x.png", *still
    )


def test_an_avatar_drives_others_of_its_prior(run: Path, avatar: Path, tmp_path: Path) -> None:
    curve = tmp_path / "k.npz"
    call("animate", run, "--from", avatar, "--curve", curve, "--out", tmp_path / "k.png", "--fps", 3, "--size", 16)
    found = AnimationCurve.load(curve)
    assert found.expression.norm(dim=1).max() > 0.3
    assert torch.equal(found.expression[0], torch.zeros(6))
    make_avatar(tmp_path / "stranger", "0" * 64)
    assert "of different priors" in refuse("animate", run, "--from", tmp_path / "stranger", "--out", tmp_path / "k.png")


def test_the_avatar_of_a_video_drives_others_as_it_moved(run: Path, tmp_path: Path) -> None:
    avatar = make_avatar(tmp_path / "bob", prior_sha256(run))
    codes = torch.tensor([[0.0] * 6, [1.0] * 6, [2.0] * 6])
    places = torch.tensor([[0.0, 0.0, -0.6], [0.01, 0.0, -0.6], [0.02, 0.0, -0.6]])
    motion = AnimationCurve(expression=codes, rotation=torch.eye(3).repeat(3, 1, 1), translation=places, fps=6.0)
    dataclasses.replace(avatar, animation=motion).save(tmp_path / "bob")
    curve = tmp_path / "k.npz"
    call(
        "animate",
        run,
        "--from",
        tmp_path / "bob",
        "--curve",
        curve,
        "--out",
        tmp_path / "k.png",
        "--fps",
        6,
        "--size",
        16,
    )
    found = AnimationCurve.load(curve)
    torch.testing.assert_close(found.expression, codes)
    torch.testing.assert_close(found.translation, places - places[1])


def test_a_capture_and_its_shards_give_the_same_animation(tmp_path: Path) -> None:
    run = make_trained(tmp_path, subjects=2, frames=4)
    capture = TinyCapture(subjects=3, frames=4, size=(24, 24))
    write_capture_info(tmp_path / "capture", capture.info)
    for frame in capture.frames():
        write_frame(tmp_path / "capture", frame, capture.members(frame))
    still = ["--out", tmp_path / "x.png", "--fps", 4, "--size", 16, "--driver-fps", 4, "--driver-subject", "s1"]
    for name in ("capture", "shards"):
        call("animate", run, "--from", tmp_path / name, "--curve", tmp_path / f"{name}.npz", *still)
    found = [AnimationCurve.load(tmp_path / f"{name}.npz") for name in ("capture", "shards")]
    torch.testing.assert_close(found[0].expression, found[1].expression)
    torch.testing.assert_close(found[0].rotation, found[1].rotation)
    assert len(found[0]) == 4
    assert found[0].expression.std(dim=0).max() > 1e-3, "frames differ"
    assert "no frames of subject nobody" in refuse(
        "animate", run, "--from", tmp_path / "shards", "--out", tmp_path / "x.png", "--driver-subject", "nobody"
    )
    assert "no sequence fly" in refuse(
        "animate", run, "--from", tmp_path / "shards", "--out", tmp_path / "x.png", "--driver-sequence", "fly"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["interpolate", "{run}:s0", "--out", "x.mp4"], "one person cannot turn"),
        (["relight", "{run}", "--out", "x.mp4", "--size", "33"], "even size"),
        (["relight", "{run}", "--out", "x.mp4", "--seconds", "0"], "must be positive"),
        (["relight", "{run}", "--out", "x.mp4", "--expression", "happy"], "no expression happy"),
        (["relight", "{run}", "--out", "x.mp4", "--expression", "none.npz"], "does not exist"),
        (["relight", "{run}", "--out", "x.mp4", "--light", "photo"], "is no avatar"),
        (["sample", "{run}", "--out", "x.mp4", "--count", "0"], "one head or more"),
        (["sample", "{run}", "--out", "x.mp4", "--temperature", "-1"], "temperature"),
        (["animate", "{run}", "--out", "x.mp4", "--from", "nothing"], "driver nothing does not exist"),
        (["animate", "{run}", "--out", "x.mp4", "--from", "{run}"], "drives nothing"),
    ],
)
def test_bad_input_is_refused_before_any_work(run: Path, tmp_path: Path, words: list[str], message: str) -> None:
    filled = [word.replace("{run}", str(run)).replace("x.mp4", str(tmp_path / "x.mp4")) for word in words]
    assert message in refuse(*filled)
    assert list(tmp_path.iterdir()) == []


def test_help_of_these_commands_imports_nothing_heavy() -> None:
    names = ("interpolate", "relight", "animate", "sample", "report")
    code = (
        "import sys, importlib\n"
        f"for name in {names}: importlib.import_module('tools.' + name)\n"
        "heavy = {'torch', 'mitsuba', 'cv2', 'numpy', 'scipy', 'av', 'PIL', 'omegaconf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_program_says_the_command_that_makes_it(run: Path, tmp_path: Path) -> None:
    """What the report prints makes the file that the report shows."""
    made = Program(
        command="relight",
        who=[str(run)],
        options=ShowOptions(
            out=[tmp_path / "my show.mp4"], seconds=0.25, fps=8.0, size=16, light_turns=0.0, camera=CameraMove.orbit
        ),
        caption="",
    )
    line = made.line
    assert "--no-ball" in line
    assert "--camera orbit" in line
    assert "--light-turns 0" in line
    assert "'" in line, "a blank in a name is quoted"
    made.show().run(lambda done, total: None)
    first = (tmp_path / "my show.mp4").read_bytes()
    call(*shlex.split(line)[1:])
    assert (tmp_path / "my show.mp4").read_bytes() == first


def test_reports_of_a_lone_run_and_of_an_avatar(
    run: Path, avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.report.shows.SECONDS", 0.25)
    monkeypatch.setattr("tools.report.shows.FPS", 8.0)
    monkeypatch.setattr("tools.report.shows.SIZE", 24)
    before = sorted(avatar.iterdir())
    report(run=avatar, out=tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert text.count("data:video/mp4;base64,") == 2
    assert text.count("data:image/jpeg;base64,") == 1
    for words in ("It is sound", "25.00", "0.950", "seed=3 finetune.steps=7", "&#x27;my photos/me.png&#x27;", "40%"):
        assert words in text, words
    assert "rendered truth" not in text
    assert sorted(avatar.iterdir()) == before, "a bundle holds nothing but its avatar"
    report(run=run, out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert text.count("data:video/mp4;base64,") == 2
    assert f"vrmm interpolate {run}" in text
    report(run=run, out=tmp_path / "q.html", shows=False)
    assert "data:video" not in (tmp_path / "q.html").read_text()


def test_an_avatar_without_its_origin_still_has_a_report(avatar: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(avatar, old)
    description = json.loads((old / "avatar.json").read_text())
    del description["source"]
    (old / "avatar.json").write_text(json.dumps(description))
    report(run=old, out=tmp_path / "o.html", shows=False)
    assert "vrmm fit" not in (tmp_path / "o.html").read_text()
    (old / "avatar.json").write_text(json.dumps({**description, "version": 9}))
    with pytest.raises(VrmmError, match="of version 9"):
        report(run=old, out=tmp_path / "o.html", shows=False)
