"""A build that is killed with no warning, again and again, ends with the bytes of one that never was."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from datasets.folder import write_capture_info, write_frame
from datasets.shards import build_shards, verify_shards
from tests.datasets.tiny_capture import TinyCapture

ROOT = Path(__file__).parents[2]
KILLS = 5
CHILD = """
import sys, time
from datasets.folder import FolderCapture
from datasets.shards import build_shards

class Slow(FolderCapture):
    def members(self, frame):
        time.sleep(0.02)
        return super().members(frame)

print("started", flush=True)
build_shards(Slow(sys.argv[1]), sys.argv[2], samples_per_shard=4)
"""


def test_kill_at_any_moment_then_build_again(tmp_path: Path) -> None:
    capture = TinyCapture(subjects=2, frames=14)
    source, out, reference = tmp_path / "capture", tmp_path / "out", tmp_path / "reference"
    write_capture_info(source, capture.info)
    for frame in capture.frames():
        write_frame(source, frame, capture.members(frame))
    build_shards(capture, reference, samples_per_shard=4)
    rng = random.Random(3)
    killed, finished, shards_seen = 0, False, []
    while not finished:
        child = _start(source, out)
        if killed < KILLS:
            time.sleep(rng.uniform(0.0, 0.25))  # a shard takes at least 0.08 s
            child.send_signal(signal.SIGKILL)
        finished = child.wait(timeout=600) == 0
        killed += not finished
        shards_seen.append(len(list(out.glob("*.tar"))))
        for path in out.glob("*.tar"):
            assert path.read_bytes() == (reference / path.name).read_bytes(), "a shard is whole or absent"
        assert finished or not (out / "manifest.json").exists() or verify_shards(out) == [], "the manifest is last"
        assert killed <= KILLS
    assert killed >= 3, "the build was over before it could be killed: slow it down"
    assert shards_seen == sorted(shards_seen), "finished shards are kept"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in reference.iterdir()
    }
    assert verify_shards(out) == []


def _start(source: Path, out: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(source), str(out)]
    child = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "started\n"
    return child
