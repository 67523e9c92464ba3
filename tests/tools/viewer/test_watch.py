"""The newest weights are shown as soon as they are whole."""

from pathlib import Path

import pytest
import torch

from tests.fitting.tiny import tiny_model
from tests.tools.viewer.made_up_run import save_model
from tests.tools.viewer.test_source import copy_of
from tools.viewer.source import open_source
from tools.viewer.source_config import SourceConfig
from tools.viewer.watch import Current, Watch


@pytest.fixture
def current(run: Path, tmp_path: Path) -> Current:
    return Current(open_source(SourceConfig(folder=copy_of(run, tmp_path / "run"))))


def test_new_weights_are_shown(current: Current) -> None:
    first, told = current.source, []
    current.listen(lambda: told.append(current.source.step))
    watch = Watch(current, first.config.stamp())
    assert not watch.look()
    save_model(tiny_model(seed=4, subjects=3), first.config.folder, 8, Path("nowhere"))
    assert watch.look()
    assert told == [8]
    assert not torch.equal(current.source.blend(()), first.blend(()))
    assert not watch.look()
    assert torch.equal(first.blend(()), first.model.identity_codes.weight[:1]), "what is being drawn is left alone"


def test_half_written_weights_are_waited_for(current: Current) -> None:
    first = current.source
    watch = Watch(current, first.config.stamp())
    weights = first.config.folder / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert not watch.look()
    assert current.source is first
    weights.unlink()
    assert not watch.look()
    weights.write_bytes(whole)
    assert watch.look()
    assert current.source is not first


def test_whoever_left_is_not_told(current: Current) -> None:
    told: list[int] = []

    def listener() -> None:
        told.append(1)

    current.listen(listener)
    current.forget(listener)
    current.replace(current.source)
    assert told == []
