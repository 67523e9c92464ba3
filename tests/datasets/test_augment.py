"""Augmentation: moved pictures keep true cameras, colours change for the encoders alone, and chance is repeatable."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.augment import AugmentConfig
from datasets.config import load_config
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shards import build_shards
from tests.datasets.ramp_capture import RampCapture, seen_through


@pytest.fixture(scope="module")
def capture() -> RampCapture:
    return RampCapture(subjects=1, frames=4)


@pytest.fixture(scope="module")
def shards(capture: RampCapture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ramps")
    build_shards(capture, out)
    return out


def _batches(shards: Path, count: int = 1, **values):
    config = LoaderConfig(
        shards=str(shards), batch_frames=4, target_views=3, workers=0, augment=AugmentConfig(**values)
    )
    return list(islice(FrameLoader(config).batches(), count))


def test_moved_windows_keep_true_cameras(shards: Path, capture: RampCapture) -> None:
    plain, (batch, *later) = _batches(shards)[0], _batches(shards, 6, crop=0.5)
    torch.testing.assert_close(batch.input_images, plain.input_images, rtol=0, atol=0)
    sides = []
    for each in (batch, *later):
        for row, view in np.ndindex(4, 3):
            camera = capture.info.cameras[int(each.camera[row, view])]
            x, y = seen_through(each.intrinsics[row, view].numpy(), camera, 64, 96)
            sides.append((x[0, -1] - x[0, 0]) / 95)
            half = sides[-1] / 2 + 1e-3
            assert x.min() >= half - 2e-3
            assert x.max() <= 96 - half + 2e-3
            assert y.min() >= half - 2e-3
            assert y.max() <= 64 - half + 2e-3, "windows stay inside the picture"
            assert (y[-1, 0] - y[0, 0]) / 63 == pytest.approx(sides[-1], rel=1e-4), "pixels stay square"
            found = each.target_images[row, view].permute(1, 2, 0).numpy()
            # Half a pixel at the border is the border's pixel; elsewhere bilinear values of a ramp are the ramp.
            np.testing.assert_allclose(found, capture.truth(x.clip(0.5, 95.5), y.clip(0.5, 63.5)), atol=2e-4)
            left, top, right, bottom = capture.box(each.keys[row])
            inside = (x > left + 0.5) & (x < right - 0.5) & (y > top + 0.5) & (y < bottom - 0.5)
            outside = (x < left - 0.5) | (x > right + 0.5) | (y < top - 0.5) | (y > bottom + 0.5)
            mask = each.target_masks[row, view, 0].numpy()
            assert not inside.any() or mask[inside].min() > 1 - 1e-3
            assert mask[outside].max() < 1e-3
    assert min(sides) >= 0.5
    assert max(sides) <= 1
    assert min(sides) < 0.6 < 0.9 < max(sides), "72 windows spread over the range"


def test_shading_changes_smoothly_for_the_encoders_alone(shards: Path) -> None:
    plain, changed = _batches(shards)[0], _batches(shards, shading=2.0)[0]
    torch.testing.assert_close(changed.target_images, plain.target_images, rtol=0, atol=0)
    torch.testing.assert_close(changed.input_masks, plain.input_masks, rtol=0, atol=0)
    power = torch.log2(changed.input_images / plain.input_images)  # [B, V, 3, H, W]
    torch.testing.assert_close(power, power[:, :, :1].expand_as(power), rtol=0, atol=1e-4)
    assert 1.0 < float(power.abs().max()) <= 2.0
    reach = power.abs().amax(dim=(-1, -2, -3))
    assert float(reach.min()) < 0.8 < float(reach.max()), "some views are changed little"
    assert reach.flatten().unique().numel() == reach.numel(), "every view has its own"
    height, width = power.shape[-2:]
    for axis, size in ((-1, width), (-2, height)):
        # from -2 to 2 within a third of the picture, at most
        assert float(power.diff(dim=axis).abs().max()) <= 4.0 / ((size - 1) / 3) * 1.01
    level = power.mean(dim=(-1, -2, -3))
    assert float(level.abs().max()) < 1.0, "light from one side, not another exposure"


def test_colours_change_for_the_encoders_alone(shards: Path) -> None:
    plain = _batches(shards)[0]
    changed = _batches(shards, exposure=1.0, white_balance=0.2)[0]
    torch.testing.assert_close(changed.target_images, plain.target_images, rtol=0, atol=0)
    ratio = changed.input_images / plain.input_images
    gains = ratio.mean(dim=(-1, -2))
    torch.testing.assert_close(ratio, gains[..., None, None].expand_as(ratio), rtol=1e-5, atol=1e-6)
    assert float(gains.min()) >= 0.5 * 0.8
    assert float(gains.max()) <= 2.0 * 1.2
    colour = gains / gains.mean(dim=-1, keepdim=True)
    assert 0.02 < float(colour.std()) < 0.2
    assert float(gains.mean(dim=-1).flatten().unique().numel()) == 12, "every view has its own"
    torch.testing.assert_close(changed.input_masks, plain.input_masks, rtol=0, atol=0)


def test_noise_has_the_stated_size_and_blur_keeps_ramps(shards: Path) -> None:
    plain = _batches(shards)[0]
    noisy = _batches(shards, noise=0.02)[0]
    blue = noisy.input_images[:, :, 2] - plain.input_images[:, :, 2]
    expected, count = 0.02 * 0.6**0.5, blue.numel()
    assert float(blue.std()) == pytest.approx(expected, rel=5 / np.sqrt(2 * count))
    assert abs(float(blue.mean())) < 5 * expected / np.sqrt(count)
    assert float(noisy.input_images.min()) >= 0
    soft = _batches(shards, blur=2.0)[0]
    inner = (..., slice(8, -8), slice(8, -8))  # a ramp is its own average, away from the border
    torch.testing.assert_close(soft.input_images[inner], plain.input_images[inner], atol=1e-4, rtol=1e-4)
    assert not torch.equal(soft.input_images, plain.input_images)
    torch.testing.assert_close(soft.target_images, plain.target_images, rtol=0, atol=0)


def test_epochs_differ_and_runs_do_not(shards: Path) -> None:
    values = {"exposure": 1.0, "noise": 0.1, "crop": 0.3}
    first, again = _batches(shards, 2, **values), _batches(shards, 2, **values)
    for name in ("input_images", "target_images", "intrinsics"):
        assert torch.equal(getattr(first[0], name), getattr(again[0], name))
    rows = [batch.keys.index("s0_talk_000000") for batch in first]
    views = [batch.input_images[row] for batch, row in zip(first, rows, strict=True)]
    assert not torch.equal(*views)


def test_the_cached_pictures_stay_as_they_are(shards: Path) -> None:
    """Changes are made to a batch, never to what later batches are made of."""
    config = {"batch_frames": 4, "target_views": 3, "workers": 0, "shards": str(shards), "image_size": 48}
    augmented = AugmentConfig(exposure=1.0, blur=1.0, noise=0.1, crop=0.3)
    kept, fresh = (
        list(islice(FrameLoader(LoaderConfig(**config, cache_mb=cache, augment=augmented)).batches(), 3))
        for cache in (64, 0)
    )
    for a, b in zip(kept, fresh, strict=True):
        assert torch.equal(a.input_images, b.input_images)
        assert torch.equal(a.target_images, b.target_images)


def test_the_recipe() -> None:
    config = load_config(
        LoaderConfig, overrides=["augment.exposure=0.5", "crop.by=mask", "crop.size=64", "balance=[subject]"]
    )
    assert config.augment.active
    assert not LoaderConfig().augment.active
    with pytest.raises(VrmmError, match="augment.crop is 0.95; it must be from 0 to 0.9"):
        load_config(LoaderConfig, overrides=["augment.crop=0.95"])
