"""The moving average of weights."""

from pathlib import Path

import torch
from torch import nn

from prior.ema import WeightAverage


def test_the_average_follows_and_can_be_put_in_and_out(tmp_path: Path) -> None:
    module = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = WeightAverage(module, decay=0.5)
    nn.init.ones_(module.weight)
    average.update()  # the first update counts 9/10: min(0.5, 1/10) of the old stays
    with average.applied():
        torch.testing.assert_close(module.weight.detach(), torch.full((1, 2), 0.9))
    torch.testing.assert_close(module.weight.detach(), torch.ones(1, 2))
    average.save(tmp_path)
    other = WeightAverage(module, decay=0.5)
    other.load(tmp_path)
    nn.init.constant_(module.weight, 3.0)
    for kept in (average, other):
        kept.update()  # 2/11 of the old stays
        with kept.applied():
            torch.testing.assert_close(module.weight.detach(), torch.full((1, 2), 3.0 - 2.1 * 2 / 11))


def test_a_checkpoint_without_an_average_starts_from_the_weights(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    average = WeightAverage(module, decay=0.9)
    nn.init.constant_(module.weight, 5.0)
    average.load(tmp_path)
    with average.applied():
        assert (module.weight == 5.0).all()
