"""LPIPS with made-up weights of the true shapes, against the formula written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from datasets.errors import VrmmError
from prior.lpips import LEAST_SIZE, LPIPS
from prior.metrics import display

LAYERS = {0: (3, 64, 11, 4, 2), 3: (64, 192, 5, 1, 2), 6: (192, 384, 3, 1, 1), 8: (384, 256, 3, 1, 1)}
LAYERS |= {10: (256, 256, 3, 1, 1)}
"""AlexNet: number in ``features`` → channels in and out, kernel, stride, padding."""


def made_up() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Both public state dictionaries with random values."""
    random = torch.Generator().manual_seed(0)
    alexnet, heads = {"classifier.1.weight": torch.zeros(2, 2)}, {}
    for head, (number, (before, after, kernel, _, _)) in enumerate(LAYERS.items()):
        deviation = (before * kernel * kernel) ** -0.5
        alexnet[f"features.{number}.weight"] = (
            torch.randn(after, before, kernel, kernel, generator=random) * 1.4 * deviation
        )
        alexnet[f"features.{number}.bias"] = 0.1 * torch.randn(after, generator=random)
        heads[f"lin{head}.model.1.weight"] = torch.rand(1, after, 1, 1, generator=random)
    return alexnet, heads


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alex")
    alexnet, heads = made_up()
    torch.save(alexnet, folder / "alexnet-owt-7be5be79.pth")
    torch.save(heads, folder / "alex.pth")
    (folder / "vgg.pth").write_text("another network's, which nobody reads")
    return folder


def pictures(size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, size, size, generator=random), torch.rand(1, 3, size, size, generator=random)


def written_out(image: torch.Tensor, target: torch.Tensor) -> list[np.ndarray]:
    """Eq. 1 before the mean, layer by layer: [h, w] maps."""
    alexnet, heads = made_up()
    maps: list[np.ndarray] = []
    features = []
    for picture in (image, target):
        x = 2 * picture - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        found = []
        for number, (_, _, _, stride, padding) in LAYERS.items():
            if number in (3, 6):
                x = torch.max_pool2d(x, 3, 2)
            kernel, bias = alexnet[f"features.{number}.weight"], alexnet[f"features.{number}.bias"]
            x = torch.conv2d(x, kernel, bias, stride, padding).clamp(min=0)
            found.append(x[0].double().numpy())
        features.append(found)
    for head, (a, b) in enumerate(zip(*features, strict=True)):
        a, b = (values / np.sqrt((values**2).sum(axis=0)).clip(1e-10) for values in (a, b))
        weight = heads[f"lin{head}.model.1.weight"].double().numpy()[0]
        maps.append((weight * (a - b) ** 2).sum(axis=0))
    return maps


def test_equal_pictures_are_at_no_distance_and_worse_ones_further(weights: Path) -> None:
    lpips, (image, other) = LPIPS(weights), pictures()
    assert lpips(image, image).abs().max() == 0.0
    near, far = (float(lpips(image, torch.lerp(image, other, share)).mean()) for share in (0.1, 0.5))
    assert 0 < near < 0.5 * far


def test_the_map_is_the_sum_of_the_layers_as_written_out(weights: Path) -> None:
    image, target = pictures()
    found = LPIPS(weights)(image, target)[0, 0].double()
    expected = sum(
        torch.nn.functional.interpolate(
            torch.tensor(layer)[None, None], size=(40, 40), mode="bilinear", align_corners=False
        )[0, 0]
        for layer in written_out(image, target)
    )
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=1e-5, rtol=1e-4)


def test_every_layer_counts(weights: Path, tmp_path: Path) -> None:
    image, target = pictures()
    alexnet, heads = made_up()
    whole, layers = float(LPIPS(weights)(image, target).mean()), written_out(image, target)
    for head in range(5):
        name = f"lin{head}.model.1.weight"
        save_file(alexnet | heads | {name: torch.zeros_like(heads[name])}, tmp_path / "one.safetensors")
        without = float(LPIPS(tmp_path / "one.safetensors")(image, target).mean())
        upsampled = torch.nn.functional.interpolate(
            torch.tensor(layers[head])[None, None], size=(40, 40), mode="bilinear", align_corners=False
        )
        assert whole - without == pytest.approx(float(upsampled.mean()), rel=1e-3), head


def test_only_the_mask_counts_and_light_is_shown(weights: Path) -> None:
    lpips = LPIPS(weights)
    (image,), (other,) = pictures(64)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :20] = 1.0
    far_away = image.clone()
    far_away[:, :, 60:] = other[:, :, 60:]
    whole = lpips(display(image)[None], display(far_away)[None])
    assert lpips.inside(far_away, image, mask) < 0.3 * float(whole.mean())
    expected = lpips(display(other)[None], display(image)[None])[0][:, :, :20].mean()
    assert lpips.inside(other, image, mask) == pytest.approx(float(expected), rel=1e-5)
    assert lpips.inside(image, image, mask) == 0.0


def test_the_state_of_the_whole_package_is_read(weights: Path, tmp_path: Path) -> None:
    alexnet, heads = made_up()
    slices = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    whole = {
        f"net.slice{slices[number]}.{number}.{kind}": alexnet[f"features.{number}.{kind}"]
        for number in LAYERS
        for kind in ("weight", "bias")
    }
    torch.save(whole | heads, tmp_path / "whole.pth")
    image, target = pictures()
    torch.testing.assert_close(LPIPS(tmp_path / "whole.pth")(image, target), LPIPS(weights)(image, target))


def test_weights_that_are_not_lpips(tmp_path: Path) -> None:
    alexnet, heads = made_up()
    with pytest.raises(VrmmError, match="no file and no folder with .* leave it out"):
        LPIPS(tmp_path / "none")
    with pytest.raises(VrmmError, match="no file and no folder with"):
        LPIPS(tmp_path)
    torch.save(alexnet, tmp_path / "alexnet.pth")
    with pytest.raises(VrmmError, match=r"does not hold LPIPS on AlexNet: lin0.model.1.weight missing"):
        LPIPS(tmp_path)
    torch.save(heads | {"lin2.model.1.weight": torch.zeros(1, 256, 1, 1)}, tmp_path / "alex.pth")
    with pytest.raises(VrmmError, match=r"lin2.model.1.weight \(1, 256, 1, 1\) instead of \(1, 384, 1, 1\)"):
        LPIPS(tmp_path)
    (tmp_path / "alex.pth").write_text("no weights")
    with pytest.raises(VrmmError, match="cannot be read as weights"):
        LPIPS(tmp_path)


def test_the_smallest_picture(weights: Path) -> None:
    lpips, (image, target) = LPIPS(weights), pictures(LEAST_SIZE)
    assert lpips.inside(image[0], target[0], torch.ones(1, LEAST_SIZE, LEAST_SIZE)) > 0
    with pytest.raises(RuntimeError, match="size"):
        lpips(image[..., 1:, 1:], target[..., 1:, 1:])
