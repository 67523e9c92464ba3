"""The perceptual distance, with made-up weights of the true shapes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from datasets.errors import VrmmError
from prior.perceptual import COMPARED, VGGDistance, _build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    state = {f"features.{name}": value for name, value in _build().state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


def test_equal_images_are_at_no_distance_and_worse_ones_further(weights: Path) -> None:
    distance = VGGDistance(weights)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert distance(image, image).abs().max() == 0.0
    near, far = distance(image + 0.01 * noise, image), distance(image + 0.1 * noise, image)
    assert (near > 0).all()
    assert (far > 3 * near).all()


def test_only_the_image_learns(weights: Path) -> None:
    distance = VGGDistance(weights)
    image, target = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16, requires_grad=True)
    distance(image, target).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    assert target.grad is None
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_features_are_compared_behind_activations() -> None:
    layers = _build()
    assert all(isinstance(layers[index], torch.nn.ReLU) for index in COMPARED)
    assert [layers[index - 1].out_channels for index in COMPARED] == [64, 128, 256, 512]


def test_files_that_are_not_vgg(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="does not exist; leave it empty"):
        VGGDistance(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(VrmmError, match="cannot be read as weights"):
        VGGDistance(tmp_path / "text.pth")
    save_file({"0.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "other.safetensors")
    with pytest.raises(VrmmError, match=r"does not hold VGG-19: 0.bias missing"):
        VGGDistance(tmp_path / "other.safetensors")
