"""What is found before a job waits in a queue."""

from pathlib import Path

import pytest

from datasets.config import load_config
from datasets.errors import VrmmError
from slurm.commands import Command
from slurm.config import LaunchConfig
from slurm.submit import check_cluster

ROOT = Path(__file__).parents[2]


def test_where_a_command_writes() -> None:
    def out(*words: str) -> Path:
        return Command.parse(words).out

    assert out("train", "configs/prior/demo.yaml", "trainer.steps=3") == Path("runs/demo")
    assert out("train", "a.yaml", "--out", "runs/b", "trainer.steps=3") == Path("runs/b")
    assert out("train", "a.yaml", "--out=runs/c") == Path("runs/c")
    assert out("train", "a.yaml", "--out", "runs/b", "--out", "runs/d") == Path("runs/d")
    assert out("evaluate", "--processes", "1", "runs/e") == Path("runs/e")
    assert out("fit", "a.png", "b.png", "--prior", "runs/p", "--out", "avatar") == Path("avatar")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to launch"),
        (["doctor"], "doctor cannot be launched; these can: train, evaluate, ablate, fit"),
        (["fit", "a.png"], "fit needs --out FOLDER"),
        (["train"], "train needs its arguments"),
    ],
)
def test_words_that_are_no_command(words: list[str], message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        Command.parse(words).out  # noqa: B018


def test_a_batch_that_tasks_cannot_share_is_refused(tmp_path: Path) -> None:
    shards = f"loader.shards={tmp_path}"
    command = Command.parse(["train", "configs/prior/quick.yaml", shards, "loader.batch_frames=4"])
    command.check(2)
    with pytest.raises(VrmmError, match=r"batch_frames=4 cannot be split over 3 ranks"):
        command.check(3)
    with pytest.raises(VrmmError, match=r"unknown key trainer.stepz; did you mean trainer.steps"):
        command.extended("trainer.stepz=1").check(2)
    with pytest.raises(VrmmError, match="does not exist"):
        command.extended(f"loader.shards={tmp_path}/gone").check(2)


def test_fits_need_their_photos_and_one_process(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.touch()
    fit = Command.parse(["fit", str(photo), "--prior", str(tmp_path), "--out", "o"])
    fit.check(1)
    with pytest.raises(VrmmError, match="fit runs as one process"):
        fit.check(2)
    with pytest.raises(VrmmError, match="gone.png does not exist"):
        Command.parse(["fit", "gone.png", "--prior", str(tmp_path), "--out", "o"]).check(1)
    with pytest.raises(VrmmError, match="fit needs photos"):
        Command.parse(["fit", "--prior", str(tmp_path), "--out", "o"]).check(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cluster=pbs", "none of slurm, local, debug"),
        ("nodes=0", "nodes=0 must be 1 or more"),
        ("timeout_min=1", "is not before the time limit"),
        ("mem_gb=0", "mem_gb=0.0 must be positive"),
        ("partitoin=gpu", "did you mean partition"),
        ("max_restarts=-1", "must not be negative"),
    ],
)
def test_impossible_resources(change: str, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        load_config(LaunchConfig, ROOT / "configs/slurm/single_node.yaml", [change])


def test_recipes_that_ship_are_valid() -> None:
    paths = sorted((ROOT / "configs/slurm").glob("*.yaml"))
    assert [path.stem for path in paths] == ["fit_array", "local", "multi_node", "single_node"]
    for path in paths:
        load_config(LaunchConfig, path)


def test_no_slurm_here_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VrmmError, match="sbatch is not on PATH"):
        check_cluster(LaunchConfig())
    check_cluster(LaunchConfig(cluster="local"))
