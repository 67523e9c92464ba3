"""The main job, small: everything it promises to leave, a kill in the middle, and a second run."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.browser import Browser, missing_browser

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
CATEGORIES = (
    "training_view",
    "held_out_camera",
    "held_out_light",
    "held_out_lamp",
    "held_out_frame",
    "environment",
    "expression_transfer",
    "identity_interpolation",
)
DEADLINE_SECONDS = 900


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.main", "demo", "--quick", "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        cwd=out.parent,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.2)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick demo that was killed while it captured and interrupted while it trained; the last run's output."""
    out = tmp_path_factory.mktemp("quick") / "demo"
    first = start(out)
    wait_for(out / "capture" / "frames", first)
    first.kill()
    first.communicate()
    second = start(out)
    wait_for(out / "prior" / "metrics.jsonl", second)
    second.send_signal(signal.SIGINT)
    text = second.communicate(timeout=DEADLINE_SECONDS)[0]
    assert second.returncode == 130, text
    assert "Traceback" not in text, text
    last = start(out)
    text = last.communicate(timeout=DEADLINE_SECONDS)[0]
    assert last.returncode == 0, text
    return out, text


def test_everything_promised_is_there(demo: tuple[Path, str]) -> None:
    out, text = demo
    for name in ("capture/capture.json", "shards/manifest.json", "prior/weights.safetensors", "report.html"):
        assert (out / name).is_file(), name
    for photos in ("one_image", "three_images"):
        assert (out / "fit" / photos / "avatar" / "avatar.json").is_file()
    assert "report.html" in text
    assert 200_000 < (out / "report.html").stat().st_size < 15_000_000


def test_the_numbers_have_the_promised_form(demo: tuple[Path, str]) -> None:
    out, _ = demo
    evaluation = read(out / "evaluation.json")
    for category in CATEGORIES:
        row = evaluation[category]
        for part in (row, row["mean_light"], row["mean_image"]):
            assert all(math.isfinite(part[name]) for name in ("psnr", "ssim", "mae255")), category
    assert math.isfinite(evaluation["expression_transfer"]["neutral"]["psnr"])
    assert math.isfinite(evaluation["identity_interpolation"]["first"]["psnr"])
    assert all(math.isfinite(value) for part in ("leakage", "jitter") for value in evaluation[part].values())
    assert {"primitive_mm", "true_mm"} <= evaluation["jitter"].keys()
    assert 0.5 < evaluation["mask_iou"] <= 1.0
    for photos in ("one_image", "three_images"):
        fit = read(out / "fit" / photos / "fit.json")
        for kind in ("inversion_only", "finetuned", "finetuned_without_lr"):
            assert math.isfinite(fit[kind]["input_mae255"])
            assert all(math.isfinite(fit[kind][name]["psnr"]) for name in ("novel_view", "relight", "expression"))
        # 4 of the 7 cameras take no photos; avatars of one photo and of three are seen through the same
        assert fit["finetuned"]["novel_view"]["images"] == 4
    timing = read(out / "timing.json")
    assert set(timing) == {"capture", "shards", "train", "evaluate", "fit", "shows", "report", "total"}
    assert timing["total"] == pytest.approx(sum(timing.values()) - timing["total"], abs=0.1)


def test_the_model_has_learned_something(demo: tuple[Path, str]) -> None:
    """Even after a hundred steps the head is where it is and as bright as it is."""
    evaluation = read(demo[0] / "evaluation.json")
    assert evaluation["training_view"]["psnr"] > 14.0
    assert evaluation["mask_iou"] > 0.85


def test_a_second_run_has_nothing_to_do(demo: tuple[Path, str]) -> None:
    out, _ = demo
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent != out}
    again = start(out)
    text = again.communicate(timeout=DEADLINE_SECONDS)[0]
    assert again.returncode == 0, text
    assert "is complete" in text
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent != out}
    assert after == before


@pytest.mark.long
def test_its_prior_gets_an_initializer_and_fits_are_evaluated(demo: tuple[Path, str], tmp_path: Path) -> None:
    """New people of the light stage, photographed, fitted in two processes and measured; killed in the middle."""
    prior, out = Path(shutil.copytree(demo[0] / "prior", tmp_path / "prior")), tmp_path / "prior" / "fits"
    vrmm("train-initializer", str(prior), "samples=128", "steps=4", "network.size=32")
    small = ["fit.image_size=48", "fit.inversion.informed_steps=3", "fit.inversion.steps=3", "fit.finetune.steps=2"]
    small += ["fit.inversion.starts=1", "fit.video.steps=2", "fit.video.visits=1", "truth.samples=4", "frames=3"]
    small += ["people=1", "sets=[three_images,video]", "checked=2", "compared=1"]
    arguments = ["evaluate-fit", *small, "--prior", str(prior), "--json", str(tmp_path / "fits.json")]
    first = subprocess.Popen([sys.executable, "-m", "tools.main", *arguments], env=ENVIRONMENT, cwd=tmp_path)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(out.glob("people/*/*/.avatar*.fitting")) and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    first.wait()
    text = vrmm(*arguments)
    found = read(tmp_path / "fits.json")
    assert set(found) == {"three_images", "video", "initializer"}
    for name in ("three_images", "video"):
        for stage in ("inversion_only", "finetuned", "finetuned_without_lr"):
            row = found[name][stage]
            assert all(math.isfinite(row[key]["psnr"]) for key in ("input", "novel_view", "expression", "relight"))
            # Even so little is somebody's head in the right place.
            assert row["novel_view"]["mask_iou"] > 0.7
    assert found["initializer"]["of"] == 2
    assert "three images, fine-tuned" in text
    assert {path.name for path in (out / "people").iterdir()} == {"procedural_q02"}


def vrmm(*arguments: str) -> str:
    """What a command prints."""
    found = subprocess.run(
        [sys.executable, "-m", "tools.main", *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | {"COLUMNS": "200"},
        timeout=DEADLINE_SECONDS,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_another_size_in_the_same_folder_is_refused(demo: tuple[Path, str]) -> None:
    out, _ = demo
    other = subprocess.run(
        [sys.executable, "-m", "tools.main", "demo", "--out", str(out)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
    )
    assert other.returncode == 1
    assert other.stderr.startswith("error: ")
    assert "other options" in other.stderr
    assert other.stderr.count("\n") == 1


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_its_report_opens_in_a_browser(demo: tuple[Path, str], tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.open(demo[0] / "report.html", width=1280, height=900)
        assert browser.run("return document.querySelectorAll('section').length") == 6
        assert browser.messages() == []
