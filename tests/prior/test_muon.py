"""Muon beside AdamW: what it does to a gradient, which weights it takes, and how it goes on after a stop."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datasets.config import load_config
from datasets.errors import VrmmError
from prior.distributed import parameter_groups
from prior.muon import MuonAdamW, inner_matrices, orthogonalized
from prior.recipe import TrainRecipe
from tests.prior.small_model import small_model

BETAS = (0.9, 0.98)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(16, 90), columns=st.integers(16, 90), spread=st.floats(0.0, 1.5), seed=st.integers(0, 999))
def test_singular_values_become_alike_and_directions_stay(rows, columns, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    values = 10.0 ** -(spread * torch.rand(min(rows, columns), generator=generator))
    found = orthogonalized(left @ torch.diag(values) @ right)
    inner = left.T @ found @ right.T
    # The polynomial maps what lies between 0.003 and 1 of the norm into 0.5 to 1.25.
    assert inner.diagonal().min() > 0.5
    assert inner.diagonal().max() < 1.25
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-3


def test_no_gradient_is_no_step():
    assert torch.equal(orthogonalized(torch.zeros(20, 30)), torch.zeros(20, 30))


def test_steps_are_as_large_as_adams():
    """One rate suits both: the root mean square of a step is ``muon`` times the rate, whatever the shape."""
    torch.manual_seed(0)
    for shape in ((64, 4, 4, 16), (16, 200), (48, 48)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape) * 1e-5
        MuonAdamW([{"params": [weight], "weight_decay": 0.0, "muon": 0.4}], lr=1e-2, betas=BETAS).step()
        # singular values of 0.68 to 1.2, and Nesterov's momentum has no scale: about 0.004 in all shapes
        assert 0.7 * 0.004 < weight.detach().square().mean().sqrt() < 1.25 * 0.004


def test_other_groups_are_adamw():
    torch.manual_seed(0)
    plain, mixed = nn.Linear(20, 20), nn.Linear(20, 20)
    mixed.load_state_dict(plain.state_dict())
    theirs = torch.optim.AdamW([{"params": [plain.bias], "weight_decay": 0.1}], lr=1e-2, betas=BETAS)
    ours = MuonAdamW(
        [{"params": [mixed.bias], "weight_decay": 0.1}, {"params": [mixed.weight], "muon": 0.4}], lr=1e-2, betas=BETAS
    )
    for _ in range(3):
        for layer, optimizer in ((plain, theirs), (mixed, ours)):
            layer.bias.grad, layer.weight.grad = torch.arange(20.0) - 7.0, torch.eye(20)
            optimizer.step()
    assert torch.equal(plain.bias, mixed.bias)


def test_an_interrupted_optimiser_goes_on_bit_for_bit():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(24, 24))
    gradients = [torch.randn(24, 24) for _ in range(6)]
    groups = lambda parameter: [{"params": [parameter], "muon": 0.4, "weight_decay": 0.01}]  # noqa: E731
    optimizer = MuonAdamW(groups(weight), lr=1e-2, betas=BETAS)
    for step, gradient in enumerate(gradients):
        if step == 3:
            saved, copied = copy.deepcopy(optimizer.state_dict()), nn.Parameter(weight.detach().clone())
        weight.grad = gradient
        optimizer.step()
    resumed = MuonAdamW(groups(copied), lr=1e-2, betas=BETAS)
    resumed.load_state_dict(saved)
    for gradient in gradients[3:]:
        copied.grad = gradient
        resumed.step()
    assert torch.equal(weight, copied)


def test_a_checkpoint_of_before_muon_is_read():
    layer = nn.Linear(20, 20)
    before = torch.optim.AdamW(layer.parameters(), lr=1e-2, betas=BETAS, fused=True)
    optimizer = MuonAdamW([{"params": list(layer.parameters())}], lr=1e-2, betas=BETAS)
    optimizer.load_state_dict(before.state_dict())
    layer.weight.grad = torch.ones(20, 20)
    optimizer.step()
    assert optimizer.param_groups[0]["muon"] == 0.0


def test_every_weight_is_in_one_group_and_answers_are_not_muons():
    model = small_model(channels=[24, 16, 16], light_channels=[16, 16, 16])
    recipe = load_config(TrainRecipe, None, ["optimizer.muon=0.4"])
    groups = parameter_groups(model, model, recipe)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    inner = {id(parameter) for parameter in groups[-1]["params"]}
    assert id(model.transform_decoder.head.weight) not in inner
    assert len(inner) == len(inner_matrices(model)) > 10
    assert len(parameter_groups(model, model, load_config(TrainRecipe, None, []))) == 2


@pytest.mark.parametrize("change", [["optimizer.muon=-1"], ["optimizer.muon=0.4", "trainer.zero=1"]])
def test_what_muon_cannot_do_is_refused(change):
    with pytest.raises(VrmmError, match=r"optimizer\.muon"):
        load_config(TrainRecipe, None, change)
