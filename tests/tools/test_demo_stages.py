"""The stages of a demo: done once, continued after a kill, refused with other options."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.errors import VrmmError
from tools.demo import stages
from tools.demo.book import SAVE_EVERY_SECONDS, StageBook, first_difference
from tools.demo.fits import mean_of
from tools.demo.stages import Stage, run_stages

OPTIONS = {"quick": True, "data": {"seed": 0, "rig": {"image_size": 48}}}


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def timing(folder: Path) -> dict[str, float]:
    return json.loads((folder / "timing.json").read_text())


def test_a_stage_is_done_only_when_it_ends_well(tmp_path: Path, clock: Clock) -> None:
    book = StageBook(tmp_path / "demo", OPTIONS, clock)
    with contextlib.suppress(KeyboardInterrupt), book.at_work("train"):
        clock.now += 7.0
        raise KeyboardInterrupt
    assert not book.is_done("train")
    again = StageBook(tmp_path / "demo", OPTIONS, clock)
    assert not again.is_done("train")
    assert again.seconds("train") == 7.0
    with again.at_work("train"):
        clock.now += 3.0
    assert StageBook(tmp_path / "demo", OPTIONS, clock).is_done("train")
    assert timing(tmp_path / "demo") == {"train": 10.0, "total": 10.0}


def test_a_kill_loses_only_seconds(tmp_path: Path, clock: Clock) -> None:
    """What a tick has saved is there although the block never ended."""
    book = StageBook(tmp_path / "demo", OPTIONS, clock)
    work = book.at_work("capture")
    tick = work.__enter__()
    for _ in range(10):
        clock.now += 1.0
        tick()
    assert 10.0 - SAVE_EVERY_SECONDS < timing(tmp_path / "demo")["capture"] <= 10.0
    assert not StageBook(tmp_path / "demo", OPTIONS, clock).is_done("capture")


def test_other_options_are_refused_and_named(tmp_path: Path, clock: Clock) -> None:
    StageBook(tmp_path / "demo", OPTIONS, clock)
    other = {"quick": True, "data": {"seed": 0, "rig": {"image_size": 96}}}
    with pytest.raises(VrmmError, match=r"data.rig.image_size was 48 and is 96 now.*--out"):
        StageBook(tmp_path / "demo", other, clock)
    StageBook(tmp_path / "demo", OPTIONS, clock)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(VrmmError, match="no demo"):
        StageBook(tmp_path, OPTIONS, clock)
    (tmp_path / "demo.json").write_text('{"format": "other"}')
    with pytest.raises(VrmmError, match="this vrmm can continue"):
        StageBook(tmp_path, OPTIONS, clock)
    (tmp_path / "demo.json").write_text("{ cut")
    with pytest.raises(VrmmError, match=r"demo.json is not the book"):
        StageBook(tmp_path, OPTIONS, clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "thesis.tex"]


def test_differences_are_found_in_depth() -> None:
    assert first_difference({"a": [1, 2], "b": {"c": 1}}, {"a": [1, 2], "b": {"c": 1}}) is None
    assert first_difference({"a": 1, "b": {"c": 1}}, {"a": 1, "b": {"c": 2}}) == "b.c was 1 and is 2 now"
    assert first_difference({"a": 1}, {}) == "a was 1 and is None now"


def interrupted_at(name: str, log: list[str]) -> Callable:
    """Stage functions that write down what runs, and stop once at ``name``."""
    stopped = []

    def work_of(stage: str) -> Callable:
        def work(settings, folder, progress) -> None:
            log.append(stage)
            progress(1, 2)
            if stage == name and not stopped:
                stopped.append(stage)
                raise KeyboardInterrupt
            progress(2, 2)

        return work

    return work_of


def test_an_interrupted_demo_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    work_of = interrupted_at("train", log)
    names = ("capture", "train", "report")
    table = tuple(Stage(name=name, title=name, work=work_of(name), own_progress=name == "train") for name in names)
    monkeypatch.setattr(stages, "STAGES", table)
    with pytest.raises(KeyboardInterrupt):
        run_stages(None, StageBook(tmp_path / "demo", OPTIONS))
    assert run_stages(None, StageBook(tmp_path / "demo", OPTIONS)) == 2
    assert run_stages(None, StageBook(tmp_path / "demo", OPTIONS)) == 0
    assert log == ["capture", "train", "train", "report"]


def test_means_over_people() -> None:
    a = {"finetuned": {"psnr": 20.0, "images": 4, "mean_image": {"psnr": 10.0}}}
    b = {"finetuned": {"psnr": 30.0, "images": 4, "mean_image": {"psnr": 12.0}}}
    assert mean_of([a, b]) == {"finetuned": {"psnr": 25.0, "images": 4.0, "mean_image": {"psnr": 11.0}}}
