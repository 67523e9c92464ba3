"""A fit of a video that is killed with no warning, again and again, ends with the avatar of one that never was."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prior.weights import save_weights
from tests.fitting.tiny import RENDERING, tiny_model
from tests.fitting.video.clips import film, write_folder, write_lens

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
KILLS = 4
CHILD = """
import sys
from pathlib import Path
from fitting.video.fit import fit_video
from tests.fitting.video.test_fit_video import SMALL, settings

film, prior, out, cameras, stop = sys.argv[1:]
calls = 0

def progress(stage, done, total, loss):
    global calls
    calls += 1
    if calls == int(stop):
        print("now", flush=True)
        sys.stdin.read()  # until the signal comes

fit_video(Path(film), Path(prior), settings(**SMALL), Path(out), cameras=Path(cameras), progress=progress)
"""


def test_kill_at_any_moment_then_fit_again(tmp_path: Path) -> None:
    model = tiny_model()
    (tmp_path / "run").mkdir()
    save_weights(model, RENDERING, tmp_path / "run")
    place = write_folder(film(model, 11), tmp_path / "film")
    cameras = write_lens(tmp_path / "cameras.json", "film")
    rest = [str(place), str(tmp_path / "run")]
    assert _run([*rest, str(tmp_path / "whole"), str(cameras), "0"])
    rng = random.Random(5)
    for _ in range(KILLS):
        # Reading reports 13 times, the first frame 6, tracking 10, the joint fit 12 and the fine-tuning 3 times.
        assert not _run([*rest, str(tmp_path / "killed"), str(cameras), str(rng.randint(2, 16))])
        assert not (tmp_path / "killed").exists()
    assert _run([*rest, str(tmp_path / "killed"), str(cameras), "0"])
    for name in ("weights.safetensors", "animation.npz"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".killed")] == []


def _run(arguments: list[str]) -> bool:
    """Whether the fit came to its end; it is killed where it says that it has come to the place to be killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    if child.stdout.readline() == "now\n":
        child.send_signal(signal.SIGKILL)
    code = child.wait(timeout=600)
    assert child.stdin is not None
    child.stdin.close()
    child.stdout.close()
    assert code in (0, -signal.SIGKILL)
    return code == 0
