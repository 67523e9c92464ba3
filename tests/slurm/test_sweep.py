"""Which jobs a sweep is made of."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import VrmmError
from slurm.commands import Command
from slurm.sweep import ablation_elements, list_elements, sweep_elements

TRAIN = Command.parse(["train", "a.yaml", "--out", "runs/s"])
KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True)


@given(KEYS, st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
def test_every_combination_once_in_a_folder_of_its_own(keys: list[str], values: list[int]) -> None:
    sweeps = [f"{key}={','.join(map(str, values))}" for key in keys]
    elements = sweep_elements(TRAIN, sweeps)
    assert len(elements) == math.prod([len(values)] * len(keys))
    assert len({element.command.out for element in elements}) == len(elements)
    for element in elements:
        assert element.command.out == Path("runs/s") / element.name
        assert element.name == ",".join(element.command.overrides)


def test_brackets_keep_a_value_together() -> None:
    elements = sweep_elements(TRAIN, ["optimizer.betas=[0.9,0.98],[0.9,0.999]"])
    assert [element.command.overrides for element in elements] == [
        ["optimizer.betas=[0.9,0.98]"],
        ["optimizer.betas=[0.9,0.999]"],
    ]
    assert "[" not in elements[0].name


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["a"], "not of the form"),
        (["a="], "not of the form"),
        (["a=1", "a=2"], "given twice"),
        (["a=1,1"], "both named"),
    ],
)
def test_sweeps_that_are_none(sweeps: list[str], message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        sweep_elements(TRAIN, sweeps)


def test_evaluate_cannot_be_swept() -> None:
    with pytest.raises(VrmmError, match="evaluate cannot be swept"):
        sweep_elements(Command.parse(["evaluate", "runs/a"]), ["a=1"])


def test_one_fit_for_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ada.png", "bob 1.png", "bob 2.png"):
        Path(name).touch()
    Path("people.txt").write_text("# two people\nada.png\n\n'bob 1.png' 'bob 2.png' recipe.threads=1\n")
    fit = Command.parse(["fit", "--prior", "runs/p", "--out", "avatars"])
    with pytest.raises(VrmmError, match="line 4: recipe.threads=1 does not exist"):
        list_elements(fit, Path("people.txt"))
    Path("people.txt").write_text("# two people\nada.png\n\n'bob 1.png' 'bob 2.png'\n")
    first, second = list_elements(fit, Path("people.txt"))
    assert first.command.positional == ["ada.png"]
    assert first.command.out == Path("avatars/ada")
    assert second.command.positional == ["bob 1.png", "bob 2.png"]
    assert second.command.out == Path("avatars/bob_1")


def test_lists_that_are_none(tmp_path: Path) -> None:
    fit = Command.parse(["fit", "--prior", "runs/p", "--out", "avatars"])
    path = tmp_path / "people.txt"
    with pytest.raises(VrmmError, match="cannot read the list"):
        list_elements(fit, path)
    path.write_text("# nobody\n")
    with pytest.raises(VrmmError, match="is empty"):
        list_elements(fit, path)
    (tmp_path / "a.png").touch()
    path.write_text(f"{tmp_path}/a.png\n{tmp_path}/a.png\n")
    with pytest.raises(VrmmError, match="both named a"):
        list_elements(fit, path)
    with pytest.raises(VrmmError, match="not for train"):
        list_elements(TRAIN, path)


def test_one_job_for_every_run_of_an_ablation() -> None:
    command = Command.parse(
        ["ablate", "a.yaml", "--seeds", "3", "--variant", "full", "--variant=without_kl", "--out", "r"]
    )
    elements = ablation_elements(command)
    assert [element.name for element in elements] == ["full_0", "without_kl_0", "full_1", "full_2"]
    assert [element.command.out for element in elements] == [Path("r") / element.name for element in elements]
    assert len(ablation_elements(Command.parse(["ablate", "a.yaml", "--out", "r"]))) == 6
    with pytest.raises(VrmmError, match="no variant without_luck"):
        ablation_elements(command.extended("--variant", "without_luck"))
    with pytest.raises(VrmmError, match="--array is for ablate"):
        ablation_elements(TRAIN)
