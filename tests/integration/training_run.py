"""Starts real training processes on a tiny capture."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from datasets.shard_build import build_shards
from tests.datasets.tiny_capture import TinyCapture

ROOT = Path(__file__).parents[2]
RECIPE = """
template_resolution: 17
model: {primitives: 64, voxels: 4, channels: [16, 12, 8], light_channels: [8, 8, 8], light_directions: 12,
        identity: 8, expression: 6, encoder_size: 32}
render: {step: 0.01}
losses: {consistency_every: 2}
loader: {batch_frames: 4}
trainer: {steps: 12, checkpoint_every: 3, preview_every: 100, log_every: 1, threads: 1}
"""


def make_data(folder: Path, *, masks: bool = True) -> Path:
    """Shards and a recipe in ``folder``; returns the recipe."""
    build_shards(TinyCapture(subjects=4, frames=8, size=(48, 48), masks=masks), folder / "shards")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return recipe


def start(recipe: Path, out: Path, *overrides: str, ranks: int = 1) -> subprocess.Popen[str]:
    """``vrmm train`` in a process group of its own."""
    command = [sys.executable, "-m", "tools.main", "train", str(recipe), f"loader.shards={recipe.parent / 'shards'}"]
    return subprocess.Popen(
        [*command, f"trainer.ranks={ranks}", *overrides, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait and return what was printed; fails the test on another exit status."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def kill_group(process: subprocess.Popen[str]) -> None:
    """kill -9 of every rank at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Return as soon as the run has logged ``step``."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if any(row["step"] >= step for row in logged(out)):
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was never logged: {process.communicate()[0]}")


def logged(out: Path) -> list[dict]:
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def weights_digest(out: Path) -> str:
    return hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
