"""Expression sliders: principal directions, and controls learnt from frames."""

import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from tests.fitting.tiny import tiny_model
from tools.viewer.expressions import fit_controls, leading_directions, plain_space, stored_space


def test_leading_directions_are_those_of_the_population() -> None:
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    sizes = torch.tensor([3.0, 1.0, 0.3, 0.1, 0.03])
    codes = 0.7 + (torch.randn(4000, 5, generator=generator) * sizes) @ axes.T
    found = leading_directions(codes)
    assert found.shape == (5, 5)
    # 4000 draws: spreads are known to 1 / sqrt(8000), directions to about sizes' ratio over sqrt(4000)
    assert torch.allclose(found.norm(dim=1), sizes, rtol=0.05)
    for number in range(5):
        assert abs(float(found[number] @ axes[:, number])) / float(found[number].norm()) > 0.99
        assert float(found[number][found[number].abs().argmax()]) > 0.0


def test_controls_are_found_again() -> None:
    random = np.random.default_rng(1)
    values = random.random((400, 3)) * (random.random((400, 3)) < 0.5)
    effect = random.normal(size=(3, 6))
    codes = torch.tensor(0.2 + values @ effect, dtype=torch.float32)
    rest, controls = fit_controls(codes, values, ("jawOpen", "browUp", "cheekPuff"))
    assert list(controls) == ["jawOpen", "browUp", "cheekPuff"]
    for row, name in zip(effect, controls, strict=True):
        found = controls[name].double().numpy()
        assert found @ row / np.linalg.norm(found) / np.linalg.norm(row) > 0.99
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(row), rel=0.1)  # the ridge takes 5 %
    assert rest.double().numpy() == pytest.approx(np.full(6, 0.2), abs=0.1)


def test_controls_that_move_together_are_one_and_those_that_never_move_none() -> None:
    random = np.random.default_rng(2)
    blink, jaw = random.random((50, 1)), random.random((50, 1))
    rare = np.zeros((50, 1))
    rare[:2] = 1.0
    values = np.concatenate([blink, blink, jaw, jaw, rare, np.zeros((50, 1))], axis=1)
    names = ("eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthFunnel", "rare", "never")
    _, controls = fit_controls(torch.randn(50, 4), values, names)
    assert list(controls) == ["eyeBlink", "jawOpen+mouthFunnel"]


def test_a_code_adds_up() -> None:
    codes = torch.randn(30, 4, generator=torch.Generator().manual_seed(5))
    values = np.random.default_rng(3).random((30, 1))
    space = stored_space(codes, values, ("jawOpen",), "")
    start = torch.arange(4.0)
    found = space.code(start, (("2", 1.5), ("1", -1.0)), (("jawOpen", 0.5),))
    wanted = start + 1.5 * space.directions[1] - space.directions[0] + 0.5 * space.controls["jawOpen"]
    assert torch.allclose(found, wanted)
    assert torch.equal(start, torch.arange(4.0))
    for bad in ((("9", 1.0),), (("0", 1.0),), (("jaw", 1.0),)):
        with pytest.raises(VrmmError, match="there are 1 to 4"):
            space.code(start, bad, ())
    with pytest.raises(VrmmError, match="no expression control smile; there are jawOpen"):
        space.code(start, (), (("smile", 1.0),))


def test_without_stored_codes_the_axes_are_sliders_and_the_reason_is_told() -> None:
    space = plain_space(tiny_model(), "nobody knows")
    assert torch.equal(space.directions, torch.eye(6))
    with pytest.raises(VrmmError, match="nobody knows"):
        space.code(space.rest, (), (("jawOpen", 1.0),))
