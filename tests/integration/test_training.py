"""Training in real processes: interrupted equals uninterrupted, bit for bit; ranks agree; a folder has one writer."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.training_run import (
    ROOT,
    finish,
    kill_group,
    logged,
    make_data,
    start,
    wait_for_step,
    weights_digest,
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def uninterrupted(recipe) -> Path:
    """Two ranks, twelve steps, no fault."""
    out = recipe.parent / "uninterrupted"
    finish(start(recipe, out, ranks=2))
    return out


def test_kill_minus_nine_of_both_ranks_changes_no_bit(recipe, uninterrupted):
    out = recipe.parent / "killed"
    for step in (2, 7):
        process = start(recipe, out, ranks=2)
        wait_for_step(out, step, process)
        kill_group(process)
    finish(start(recipe, out, ranks=2))
    assert weights_digest(out) == weights_digest(uninterrupted)
    assert [row["step"] for row in logged(out)] == list(range(1, 13))


@pytest.mark.long
def test_torn_newest_checkpoint_is_never_trusted(recipe, uninterrupted):
    out = recipe.parent / "torn"
    process = start(recipe, out, ranks=2)
    wait_for_step(out, 7, process)
    kill_group(process)
    pointer = json.loads((out / "checkpoints" / "latest.json").read_text())
    torn = out / "checkpoints" / f"step_{pointer['step'] + 3:08d}"
    torn.mkdir(exist_ok=True)
    (torn / "mp_rank_00_model_states.pt").write_bytes(b"half a checkpoint")
    finish(start(recipe, out, ranks=2))
    assert weights_digest(out) == weights_digest(uninterrupted)


def test_ctrl_c_saves_and_the_same_command_continues(recipe, uninterrupted):
    out = recipe.parent / "interrupted"
    process = start(recipe, out, ranks=2)
    wait_for_step(out, 4, process)
    import os

    os.killpg(process.pid, signal.SIGINT)
    output = finish(process, status=130)
    assert "run the same command again" in output
    assert "Traceback" not in output
    saved = json.loads((out / "checkpoints" / "latest.json").read_text())["step"]
    assert saved == max(row["step"] for row in logged(out))
    finish(start(recipe, out, ranks=2))
    assert weights_digest(out) == weights_digest(uninterrupted)


@pytest.mark.long
def test_a_checkpoint_torn_by_hand_is_named_and_the_one_before_is_used(recipe, uninterrupted):
    out = recipe.parent / "torn_by_hand"
    process = start(recipe, out, ranks=2)
    wait_for_step(out, 7, process)
    kill_group(process)
    newest = json.loads((out / "checkpoints" / "latest.json").read_text())["tag"]
    state = out / "checkpoints" / newest / "mp_rank_00_model_states.pt"
    state.write_bytes(state.read_bytes()[:1000])
    output = finish(start(recipe, out, ranks=2))
    assert f"{newest} is torn (mp_rank_00_model_states.pt has 1000 bytes" in output
    assert weights_digest(out) == weights_digest(uninterrupted)
    for checkpoint in (out / "checkpoints").glob("step_*"):
        (checkpoint / "files.json").unlink()
    (out / "complete.json").unlink()
    assert "is whole; remove the folder to start anew" in finish(start(recipe, out, ranks=1), status=1)


REFUSED_TWICE = """
import atexit
import torch.distributed as dist
from datasets.errors import VrmmError
from prior.distributed import Ranks, join_ranks
atexit.register(lambda: print("parted" if not dist.is_initialized() else "still joined"))
Ranks.alone()
join_ranks()
join_ranks()
raise VrmmError("refused")
"""


def test_the_ranks_part_before_python_shuts_down():
    """Else one refused start in six aborted, because threads of the process group outlived Python."""
    found = subprocess.run([sys.executable, "-c", REFUSED_TWICE], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 1
    assert "VrmmError: refused" in found.stderr
    assert found.stdout.splitlines()[-1] == "parted"


@pytest.mark.long
def test_optimizer_states_split_over_two_ranks_continue_on_one(recipe):
    out = recipe.parent / "split"
    settings = ("trainer.zero=1", "trainer.keep_checkpoints=1", "optimizer.ema=0.9")
    process = start(recipe, out, *settings, ranks=2)
    wait_for_step(out, 7, process)
    import os

    os.killpg(process.pid, signal.SIGINT)
    finish(process, status=130)
    step = json.loads((out / "checkpoints" / "latest.json").read_text())["step"]
    whole = recipe.parent / "not_split"
    finish(start(recipe, whole, *settings, ranks=2))
    finish(start(recipe, out, *settings, ranks=1))
    for alone, both in zip(logged(out), logged(whole), strict=True):
        # as in one_rank_sees_the_same_losses, and from the same state for the first steps after the change
        assert alone["total"] == pytest.approx(both["total"], rel=2e-3 if alone["step"] > step else 1e-6)


@pytest.mark.long
def test_bfloat16_with_recomputed_activations_and_muon_resumes_to_the_same_bits(recipe):
    settings = ("trainer.precision=bf16", "trainer.recompute=true", "optimizer.ema=0.99", "optimizer.muon=0.4")
    settings += ("model.channels=[16,16,16]", "model.light_channels=[16,16,16]")
    whole, out = recipe.parent / "bf16", recipe.parent / "bf16_killed"
    finish(start(recipe, whole, *settings, ranks=2))
    process = start(recipe, out, *settings, ranks=2)
    wait_for_step(out, 7, process)
    kill_group(process)
    finish(start(recipe, out, *settings, ranks=2))
    assert weights_digest(out) == weights_digest(whole)


def test_a_loss_that_is_not_finite_stops_with_its_samples_written_down(recipe):
    out = recipe.parent / "nonfinite"
    output = finish(start(recipe, out, "optimizer.lr=1e30", "optimizer.warmup=1", "optimizer.clip=1e30"), status=1)
    (error,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "is not finite at step" in error
    written = json.loads((out / "nonfinite_rank0.json").read_text())
    assert len(written["keys"]) == 4
    assert written["step"] < 11  # long before the end, and before any weights were saved from it


def test_one_rank_sees_the_same_losses_as_two(recipe, uninterrupted):
    out = recipe.parent / "alone"
    finish(start(recipe, out, ranks=1))
    for alone, both in zip(logged(out), logged(uninterrupted), strict=True):
        # float32 sums in another order, amplified over twelve Adam steps
        assert alone["total"] == pytest.approx(both["total"], rel=2e-3), alone["step"]
    # a finished run is recognised and left alone
    assert "is complete" in finish(start(recipe, out, ranks=1))


@pytest.mark.long
def test_a_profile_splits_the_last_steps_of_a_run(recipe):
    out = recipe.parent / "profiled"
    finish(start(recipe, out, "trainer.profile=6"))
    profile = json.loads((out / "profile.json").read_text())
    assert profile["steps"] == 6
    phases, kernels = profile["phases_ms"], profile["kernels_ms"]
    assert sum(phases.values()) == pytest.approx(profile["step_ms"])
    assert all(phases[name] > 0 for name in ("data", "forward", "backward", "optimiser"))
    for phase in ("forward", "backward"):
        inside = [kernels[f"{kernel} {phase}"] for kernel in ("raymarch", "assembly", "deconvolutions")]
        assert all(milliseconds > 0 for milliseconds in inside), "a kernel has another name, so nothing is counted"
        assert sum(inside) < phases[phase]
    logged_step = logged(out)[-1]["seconds"]
    # the profiler costs some, and a logged step is one of six
    assert 0.2 * logged_step < profile["step_ms"] / 1e3 < 5.0 * logged_step


@pytest.mark.long
def test_another_model_in_the_same_folder_is_refused(recipe, uninterrupted):
    out = recipe.parent / "other_model"
    finish(start(recipe, out, "trainer.steps=3"))
    output = finish(start(recipe, out, "trainer.steps=6", "model.expression=7"), status=1)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output
    assert "begun with model.expression=6, not 7" in errors[0]


@pytest.mark.long
def test_a_capture_without_masks_needs_backgrounds_and_trains_with_them(tmp_path):
    recipe = make_data(tmp_path, masks=False)
    output = finish(start(recipe, tmp_path / "refused"), status=1)
    assert "no masks" in output
    assert "cameras.background=32" in output
    out = tmp_path / "run"
    finish(start(recipe, out, "cameras.background=8", "cameras.gain=true"))
    rows = logged(out)
    assert rows[-1]["alpha"] == 0.0, "there is no mask to compare with"
    assert rows[-1]["l1"] < rows[0]["l1"]
    gains = json.loads((out / "model.json").read_text())["camera_gains"]
    assert len(gains) == 7
    assert gains[0] != [1.0, 1.0, 1.0]


@pytest.mark.long
def test_dead_rank_ends_the_others_and_a_second_writer_is_refused(recipe, uninterrupted):
    out = recipe.parent / "shared"
    # more steps than there is time for: the run must outlive the second writer's start
    process = start(recipe, out, "trainer.steps=100000", ranks=2)
    wait_for_step(out, 1, process)
    refused = finish(start(recipe, out, ranks=1), status=1)
    assert "is being written by process" in refused
    assert "Traceback" not in refused
    import psutil

    ranks = psutil.Process(process.pid).children()
    ranks[1].kill()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds one checkpoint of the test's model, but not two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk_leaves_the_checkpoint_before(recipe, small_disk):
    out = small_disk / "run"
    output = finish(start(recipe, out, "trainer.steps=60", ranks=2), status=1)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output
    assert "cannot write" in errors[0]
    assert "free some space" in errors[0]
    tag = json.loads((out / "checkpoints" / "latest.json").read_text())["tag"]
    sizes = json.loads((out / "checkpoints" / tag / "files.json").read_text())["sizes"]
    assert {name: (out / "checkpoints" / tag / name).stat().st_size for name in sizes} == sizes


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("trainer.stepz=1",), "did you mean trainer.steps"),
        (("model.primitives=90",), "primitives=90"),
        (("loader.image_size=16",), "smaller than the encoder needs"),
        (("loader.batch_frames=3",), "batch_frames"),
        (("model.encoder_views=2",), "encoder_views=2"),
    ],
)
def test_impossible_recipes_end_before_the_first_step_in_one_line(recipe, overrides, words):
    out = recipe.parent / "refused"
    output = finish(start(recipe, out, *overrides, ranks=2 if "batch" in overrides[0] else 1), status=1)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output
    assert words in errors[0]
    assert "Traceback" not in output
    assert not (out / "weights.safetensors").exists()
