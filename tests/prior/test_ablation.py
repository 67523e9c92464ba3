"""Which runs an ablation is made of, and what its table says."""

import pytest

from datasets.errors import VrmmError
from prior.ablation import VARIANTS, AblationRun, collect, plan_ablation
from prior.losses import LossConfig
from prior.metrics import mean_of
from prior.vrmm import VRMMConfig


def test_every_variant_comes_once_before_any_second_seed() -> None:
    runs = plan_ablation(list(VARIANTS), 3)
    assert [run.variant for run in runs[: len(VARIANTS)]] == list(VARIANTS)
    assert [run.name for run in runs[len(VARIANTS) :]] == [
        "full_1", "without_consistency_1", "full_2", "without_consistency_2",
    ]  # fmt: skip
    with pytest.raises(VrmmError, match="no variant without_luck; there are full, "):
        plan_ablation(["without_luck"], 1)


def test_every_variant_changes_what_its_name_says() -> None:
    config, losses = VRMMConfig(), LossConfig()
    for variant, changes in VARIANTS.items():
        for change in changes:
            section, _, rest = change.partition(".")
            key, _, value = rest.partition("=")
            default = getattr(config if section == "model" else losses, key)
            assert str(default).lower() != value, (variant, change)


def test_the_table_is_the_mean_over_seeds() -> None:
    def result(psnr: float) -> dict:
        return {"held_out_light": {"psnr": psnr, "mean_light": {"psnr": 2 * psnr}}, "model": {"name": "x", "step": 4}}

    runs = [AblationRun(variant="full", seed=0), AblationRun(variant="full", seed=1), AblationRun(variant="b", seed=0)]
    table = collect(dict(zip(runs, [result(20.0), result(24.0), result(1.0)], strict=True)))
    assert table["full"]["held_out_light"] == {"psnr": 22.0, "mean_light": {"psnr": 44.0}}
    assert table["full"]["model"] == {"step": 4.0}
    assert [row["held_out_light"]["psnr"] for row in table["full"]["seeds"]] == [20.0, 24.0]
    assert list(table) == ["full", "b"]
    assert mean_of([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0}
