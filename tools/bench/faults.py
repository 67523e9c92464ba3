"""Kills a training run again and again and compares its weights with those of a run that was left alone."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.bench.machine import machine
from tools.console import console

RECIPE = """
template_resolution: 17
model: {primitives: 64, voxels: 4, channels: [16, 12, 8], light_channels: [8, 8, 8], light_directions: 12,
        identity: 8, expression: 6, encoder_size: 32}
render: {step: 0.01}
losses: {consistency_every: 2}
loader: {batch_frames: 4}
trainer: {checkpoint_every: 4, preview_every: 100000, log_every: 1, threads: 1}
"""
POLL_SECONDS = 0.0005


def faults(
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    kills: Annotated[int, typer.Option(min=1, help="How many times to kill -9 all ranks.")] = 10,
    ranks: Annotated[int, typer.Option(min=1, help="Processes of a run.")] = 2,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Train to the same weights through kill -9 at random moments, half of them aimed inside a save."""
    from datasets.files import atomic_write_json

    with tempfile.TemporaryDirectory() as folder:
        result = _measure(Path(folder), kills, ranks, precision, random.Random(seed))
    console.print(
        f"{result['kills']} kills, {result['kills_inside_a_save']} of them inside a save: weights are "
        f"{'bit-identical' if result['bit_identical'] else 'DIFFERENT'}"
    )
    if json is not None:
        atomic_write_json(json, result)
    if not result["bit_identical"]:
        raise typer.Exit(1)


def _measure(folder: Path, kills: int, ranks: int, precision: str, moments: random.Random) -> dict[str, Any]:
    recipe = _prepare(folder, precision)
    steps = 8 * kills
    whole, killed = folder / "whole", folder / "killed"
    _run(recipe, whole, steps, ranks).wait()
    inside = done = 0
    while done < kills:
        process = _run(recipe, killed, steps, ranks)
        inside += _kill_somewhere(process, killed / "checkpoints", moments, aim_at_save=done % 2 == 1)
        done += 1
        console.print(f"kill {done}/{kills}")
    _run(recipe, killed, steps, ranks).wait()
    return {
        "kills": kills,
        "kills_inside_a_save": inside,
        "ranks": ranks,
        "precision": precision,
        "steps": steps,
        "bit_identical": _digest(whole) == _digest(killed),
        "machine": machine(),
    }


def _prepare(folder: Path, precision: str) -> Path:
    """A small synthetic capture as shards, and the recipe."""
    from datasets.lightstage.rig import RigConfig
    from datasets.lightstage.stage import StageConfig
    from datasets.lightstage.synth import synthesize
    from datasets.shard_build import build_shards

    rig = RigConfig(image_size=48, train_cameras=4, held_out_cameras=1)
    config = StageConfig(
        name="faults", train_subjects=3, held_out_subjects=0, frames=6, held_out_frames=1, samples=4,
        full_on_samples=4, rig=rig,
    )  # fmt: skip
    build_shards(synthesize(config, folder / "capture"), folder / "shards")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("threads: 1}", f"threads: 1, precision: {precision}}}"))
    return recipe


def _run(recipe: Path, out: Path, steps: int, ranks: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tools.main", "train", str(recipe), f"trainer.steps={steps}"]
    return subprocess.Popen(
        [*command, f"trainer.ranks={ranks}", f"loader.shards={recipe.parent / 'shards'}", "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_somewhere(
    process: "subprocess.Popen[bytes]", checkpoints: Path, moments: random.Random, aim_at_save: bool
) -> bool:
    """kill -9 every rank; True when a checkpoint was being written at that moment."""
    before = _newest(checkpoints)
    pointer = checkpoints / "latest.json"
    stamp = pointer.stat().st_mtime_ns if pointer.exists() else 0
    if aim_at_save:
        while process.poll() is None and _newest(checkpoints) == before:
            time.sleep(POLL_SECONDS)
        time.sleep(moments.uniform(0.0, 0.02))
    else:
        # Wait until this run has made progress, else kills during the start would repeat for ever.
        while process.poll() is None and (not pointer.exists() or pointer.stat().st_mtime_ns == stamp):
            time.sleep(POLL_SECONDS)
        time.sleep(moments.uniform(0.0, 0.5))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    named = pointer.read_text() if pointer.exists() else ""
    newest = _newest(checkpoints)
    return bool(newest) and f'"{newest}"' not in named


def _newest(checkpoints: Path) -> str:
    return max((path.name for path in checkpoints.glob("step_*")), default="")


def _digest(run: Path) -> str:
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
