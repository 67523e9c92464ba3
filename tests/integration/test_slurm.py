"""Training and arrays on a real Slurm: every fault ends in the weights of a run that nothing happened to."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prior.weights import save_weights
from slurm.launches import Launch
from slurm.summary import Standing
from tests.fitting.conftest import photograph
from tests.fitting.test_fit import write_photos
from tests.fitting.tiny import RENDERING, tiny_model
from tests.integration.launched import ALLOWED_SECONDS, in_folder, newest, rank_is_there, rank_process, until_step, vrmm
from tests.integration.private_slurm import PrivateSlurm, missing
from tests.integration.training_run import finish, logged, make_data, start, weights_digest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=f"no private Slurm here: {missing()}"),
]

STEPS, EVERY = 120, 10
CONFIG = """
cluster: slurm
tasks_per_node: 2
mem_gb: 1.5
timeout_min: 5
signal_delay_s: 30
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSlurm]:
    with PrivateSlurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with shards, a recipe and resources."""
    folder = tmp_path_factory.mktemp("work")
    make_data(folder)
    (folder / "resources.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def undisturbed(work: Path) -> str:
    """Weights of the same training, started by hand with two ranks."""
    finish(start(work / "recipe.yaml", work / "undisturbed", *SETTINGS, ranks=2))
    return weights_digest(work / "undisturbed")


SETTINGS = (f"trainer.steps={STEPS}", f"trainer.checkpoint_every={EVERY}")


def launch_training(work: Path, out: str, *settings: str) -> Launch:
    words = ["recipe.yaml", "loader.shards=shards", *SETTINGS, *settings, "--out", out]
    vrmm(work, "launch", "resources.yaml", "--", "train", *words)
    return newest(work)


def until_over(slurm: PrivateSlurm, work: Path, launch: Launch) -> list[Standing]:
    """Wait for all jobs of a launch, through any number of restarts."""
    deadline = time.monotonic() + ALLOWED_SECONDS
    while time.monotonic() < deadline:
        for job_id in launch.job_ids:
            if slurm.job(job_id).get("Restarts", "0") != "0":
                slurm.start_at_once(job_id)
        rows = in_folder(work, launch)
        if not any(row.is_live for row in rows):
            return rows
        time.sleep(0.3)
    raise AssertionError("\n".join(path.read_text()[-3000:] for path in sorted(launch.log_folder.glob("*log*"))))


def saved_step(out: Path) -> int:
    path = out / "checkpoints" / "latest.json"
    return json.loads(path.read_text())["step"] if path.exists() else 0


def preempt(slurm: PrivateSlurm, launch: Launch, out: Path) -> None:
    until_step(out, 14)
    subprocess.run(["scancel", "--signal=USR2", launch.job_ids[0]], check=True)
    noticed(slurm, launch)


def requeue(slurm: PrivateSlurm, launch: Launch, out: Path) -> None:
    until_step(out, 14)
    subprocess.run(["scontrol", "requeue", launch.job_ids[0]], check=True)
    while rank_is_there(out.name, 0):
        time.sleep(0.05)


def kill_rank(rank: int) -> Callable[[PrivateSlurm, Launch, Path], None]:
    def fault(slurm: PrivateSlurm, launch: Launch, out: Path) -> None:
        until_step(out, 14)
        rank_process(out.name, rank).kill()
        noticed(slurm, launch)

    return fault


def kill_supervisor(slurm: PrivateSlurm, launch: Launch, out: Path) -> None:
    until_step(out, 14)
    parent = rank_process(out.name, 1).parent()
    assert parent is not None
    parent.kill()
    noticed(slurm, launch)


def kill_inside_a_save(slurm: PrivateSlurm, launch: Launch, out: Path) -> None:
    until_step(out, 11)
    process = rank_process(out.name, 1)
    saving = out / "checkpoints" / f"step_{2 * EVERY:08d}"
    while not saving.exists():
        time.sleep(0.0005)
    process.kill()
    assert saved_step(out) == EVERY
    noticed(slurm, launch)


def noticed(slurm: PrivateSlurm, launch: Launch) -> None:
    """A dead rank ends the job within ten seconds."""
    started = time.monotonic()
    while slurm.job(launch.job_ids[0])["JobState"] == "RUNNING":
        assert time.monotonic() - started < 10.0
        time.sleep(0.05)


FAULTS = {
    "preempted": preempt,
    "requeued": requeue,
    "rank_0_killed": kill_rank(0),
    "rank_1_killed": kill_rank(1),
    "supervisor_killed": kill_supervisor,
    "killed_inside_a_save": kill_inside_a_save,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_no_bit(slurm: PrivateSlurm, work: Path, undisturbed: str, name: str) -> None:
    launch = launch_training(work, name)
    out = work / name
    FAULTS[name](slurm, launch, out)
    reached, saved = max(row["step"] for row in logged(out)), saved_step(out)
    (row,) = until_over(slurm, work, launch)
    assert row.state == "completed", row
    assert slurm.job(launch.job_ids[0])["Restarts"] == "1"
    assert weights_digest(out) == undisturbed
    assert [line["step"] for line in logged(out)] == list(range(1, STEPS + 1))
    if name not in ("preempted", "requeued"):
        assert reached - saved <= EVERY
    else:  # all ranks saved because they were asked to, and no step was lost
        assert reached == saved
        text = (launch.log_folder / f"{launch.job_ids[0]}_0_log.out").read_text()
        assert "asking rank 0 to save and stop" in text


def test_nothing_happens(slurm: PrivateSlurm, work: Path, undisturbed: str) -> None:
    launch = launch_training(work, "calm")
    until_step(work / "calm", 2)
    refused = vrmm(work, "launch", "resources.yaml", "--", "train", "recipe.yaml", "loader.shards=shards",
                   "--out", "calm", status=1)  # fmt: skip
    assert f"being written by job {launch.job_ids[0]} of launch {launch.name}" in refused
    (row,) = until_over(slurm, work, launch)
    assert (row.state, row.restarts, row.numbers["step"]) == ("completed", 0, STEPS)
    assert weights_digest(work / "calm") == undisturbed
    assert f"job {launch.job_ids[0]}" not in vrmm(work, "jobs", "list")
    assert "completed" in vrmm(work, "jobs", "status", launch.name)
    assert f"{STEPS}/{STEPS}" in vrmm(work, "jobs", "logs", launch.name)
    assert "nothing to resume" in vrmm(work, "jobs", "resume", launch.name)


def test_the_time_limit_is_only_a_pause(slurm: PrivateSlurm, work: Path) -> None:
    """Slurm signals up to half a minute late, so this training lasts longer than that.

    After one pause the limit is lifted: on a busy machine a minute holds few steps beside the time to start.
    """
    settings = ("trainer.steps=350", "trainer.checkpoint_every=300", "trainer.log_every=10")
    vrmm(work, "launch", "resources.yaml", "timeout_min=1", "signal_delay_s=50", "--", "train", "recipe.yaml",
         "loader.shards=shards", *settings, "--out", "limited")  # fmt: skip
    launch = newest(work)
    lift_the_limit_after_a_pause(slurm, launch.job_ids[0])
    (row,) = until_over(slurm, work, launch)
    assert row.state == "completed", row
    assert row.restarts >= 1
    finish(start(work / "recipe.yaml", work / "unlimited", *settings, ranks=2))
    assert weights_digest(work / "limited") == weights_digest(work / "unlimited")


def lift_the_limit_after_a_pause(slurm: PrivateSlurm, job_id: str) -> None:
    deadline = time.monotonic() + ALLOWED_SECONDS
    while slurm.job(job_id).get("Restarts") == "0" and time.monotonic() < deadline:
        time.sleep(0.2)
    subprocess.run(["scontrol", "update", f"JobId={job_id}", "TimeLimit=20"], check=True)


def test_a_job_without_progress_gives_up(slurm: PrivateSlurm, work: Path) -> None:
    vrmm(work, "launch", "resources.yaml", "max_restarts=1", "--", "train", "recipe.yaml", "loader.shards=shards",
         "trainer.checkpoint_every=100000", "trainer.steps=100000", "--out", "hopeless")  # fmt: skip
    launch = newest(work)
    for restarts in range(2):
        while slurm.job(launch.job_ids[0]).get("Restarts") != str(restarts):
            time.sleep(0.1)
        slurm.start_at_once(launch.job_ids[0])
        while slurm.job(launch.job_ids[0])["JobState"] != "RUNNING":
            slurm.start_at_once(launch.job_ids[0])
            time.sleep(0.2)
        until_running = time.monotonic() + 60
        while time.monotonic() < until_running:
            try:
                rank_process("hopeless", 1).kill()
                break
            except AssertionError:
                time.sleep(0.2)
        noticed(slurm, launch)
    (row,) = until_over(slurm, work, launch)
    assert (row.state, row.restarts) == ("killed", 1)
    assert "SIGKILL" in row.message


def test_an_array_with_one_bad_input(slurm: PrivateSlurm, work: Path) -> None:
    model = tiny_model().requires_grad_(False)
    (work / "prior").mkdir()
    save_weights(model, RENDERING, work / "prior")
    people = []
    for name in ("ada", "bob", "eve", "zoe"):
        (work / name).mkdir()
        (photo,) = write_photos(photograph(model, (0.0,)), work / name).photos
        for path in sorted((work / name).iterdir()):
            path.rename(path.with_name(path.name.replace(photo.stem, name)))
        people.append(f"{name}/{name}.png")
    bad = work / people[2]
    bad.write_bytes(bad.read_bytes()[:100])
    (work / "people.txt").write_text("\n".join(people))
    (work / "fit.yaml").write_text("{image_size: 32, threads: 1, inversion: {steps: 6}, finetune: {steps: 2}}")
    fit = ["--prior", "prior", "--out", "avatars", "--recipe", "fit.yaml"]
    vrmm(work, "launch", "resources.yaml", "tasks_per_node=1", "array_parallelism=2", "--list", "people.txt",
         "--", "fit", *fit)  # fmt: skip
    launch = newest(work)
    rows = until_over(slurm, work, launch)
    assert [row.state for row in rows] == ["completed", "completed", "failed", "completed"]
    assert "eve.png" in rows[2].message
    assert [(work / "avatars" / row.name / "fit.json").exists() for row in rows] == [True, True, False, True]
    table = vrmm(work, "jobs", "status", launch.name, "--csv", "summary.csv")
    assert "eve.png" in table
    assert (work / "summary.csv").read_text().count("completed") == 3
    # the one that failed alone is submitted alone
    bad.write_bytes((work / people[0]).read_bytes())
    assert "resumed eve" in vrmm(work, "jobs", "resume", launch.name)
    assert {row.state for row in until_over(slurm, work, newest(work))} == {"completed"}


def test_the_preflight_finds_what_a_training_needs(slurm: PrivateSlurm, work: Path) -> None:
    started = time.monotonic()
    text = vrmm(work, "launch", "resources.yaml", "--check", "--", "train", "recipe.yaml", "loader.shards=shards")
    assert time.monotonic() - started < 60.0
    for found in ("2 on ", "written and seen by all", "gloo", "MB/s", "GiB free", "within"):
        assert found in text, text
    assert not (work / "runs" / "recipe" / ".preflight").exists()


def test_cancel_saves_and_resume_continues(slurm: PrivateSlurm, work: Path, undisturbed: str) -> None:
    launch = launch_training(work, "cancelled")
    until_step(work / "cancelled", 14)
    assert "1 jobs cancelled" in vrmm(work, "jobs", "cancel", launch.name)
    (row,) = until_over(slurm, work, launch)
    assert row.state == "cancelled", row
    vrmm(work, "jobs", "resume", launch.name)
    (row,) = until_over(slurm, work, newest(work))
    assert row.state == "completed"
    assert weights_digest(work / "cancelled") == undisturbed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["partition=gpu"], "partition gpu does not exist; this cluster has main"),
        (["tasks_per_node=3"], "batch_frames=4 cannot be split over 3 ranks"),
        (["mem_gb=900"], "the cluster refused the job: "),
        (["constraint=gpu"], "the cluster refused the job: "),
    ],
)
def test_impossible_launches_end_in_one_line(slurm: PrivateSlurm, work: Path, words: list[str], message: str) -> None:
    command = ["--", "train", "recipe.yaml", "loader.shards=shards", "--out", "never"]
    text = vrmm(work, "launch", "resources.yaml", *words, *command, status=1)
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert all((folder / "launch.json").exists() for folder in (work / ".vrmm" / "jobs").iterdir())
