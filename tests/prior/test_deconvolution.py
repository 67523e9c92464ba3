"""``Deconvolution`` against PyTorch's transposed convolution in float64, and its detached inputs."""

import pytest
import torch

from prior.decoders.deconvolution import Deconvolution


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (8, 8), (3, 5), (16, 16)])
@pytest.mark.parametrize("detached", [(), (7,), (2, 3)])
def test_it_is_pytorchs_transposed_convolution(height, width, detached):
    torch.manual_seed(0)
    layer = Deconvolution(5 + sum(detached), 6, gain=2.0)
    own = torch.randn(2, 5, height, width, requires_grad=True)
    others = [torch.randn(2, channels, height, width) for channels in detached]
    upstream = torch.randn(2, 6, 2 * height, 2 * width)
    found = layer(own, *others)
    by_own, by_weight = torch.autograd.grad(found, (own, layer.weight), upstream)

    exact_own = own.detach().double().requires_grad_()
    kernel = layer.weight.detach().double().permute(0, 3, 1, 2).requires_grad_()
    joined = torch.cat([exact_own, *(other.double() for other in others)], dim=1)
    exact = torch.nn.functional.conv_transpose2d(joined, kernel, stride=2, padding=1)
    exact_by_own, exact_by_weight = torch.autograd.grad(exact, (exact_own, kernel), upstream.double())
    # float32 sums of at most some hundred products of unit size
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_own.double(), exact_by_own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_weight.double(), exact_by_weight.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [4, 16])
def test_detached_maps_get_no_gradient_and_any_strides_are_fine(size):
    layer = Deconvolution(8, 4, gain=1.0)
    own = torch.randn(2, size, size, 4).permute(0, 3, 1, 2).requires_grad_()
    other = torch.randn(2, 4, size, size, requires_grad=True)
    layer(own, other).square().sum().backward()
    assert other.grad is None
    assert own.grad is not None
    assert own.grad.abs().max() > 0
    contiguous = layer(own.detach().contiguous(), other.detach())
    torch.testing.assert_close(layer(own, other), contiguous, rtol=1e-5, atol=1e-6)
