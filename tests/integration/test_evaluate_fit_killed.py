"""A benchmark of fits that is killed with no warning, again and again, ends with the numbers of one that never was."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fitting.stages import STAGES
from tests.fitting.benchmark.made_up_people import make_prior

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
FIRST_KILLS = (12, 30)
"""While pictures are rendered, and in the middle of the video, which is fitted first."""
CHILD = """
import sys
from pathlib import Path
from fitting.benchmark.run import run_benchmark
from tests.fitting.benchmark.made_up_people import MadeUpStage, config, head

prior, out, stop = sys.argv[1:]
calls = 0

def progress(stage, done, total):
    global calls
    calls += 1
    if calls == int(stop):
        print("now", flush=True)
        sys.stdin.read()  # until the signal comes

run_benchmark(
    Path(prior), [head()], config(), Path(out), processes=0, progress=progress, make_stage=MadeUpStage
)
"""


def test_kill_at_any_moment_then_go_on(tmp_path: Path) -> None:
    prior = str(make_prior(tmp_path / "prior"))
    assert _run([prior, str(tmp_path / "whole"), "0"])
    rng = random.Random(5)
    for stop in (*FIRST_KILLS, rng.randint(6, 12), rng.randint(6, 12)):
        assert not _run([prior, str(tmp_path / "killed"), str(stop)])
        assert not (tmp_path / "killed" / "benchmark.json").exists()
    assert _run([prior, str(tmp_path / "killed"), "0"])
    assert _numbers(tmp_path / "killed") == _numbers(tmp_path / "whole")


def _numbers(out: Path) -> dict[str, Any]:
    """Without times."""
    found = json.loads((out / "benchmark.json").read_text())
    for name, rows in found.items():
        for stage in STAGES if name != "initializer" else ():
            del rows[stage]["seconds"]
    return found


def _run(arguments: list[str]) -> bool:
    """Whether it came to its end; it is killed where it says that it has come to the place to be killed."""
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
