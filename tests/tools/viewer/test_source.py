"""Opening what is looked at: runs, runs in training, avatars, and everything that may be missing."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from datasets.errors import VrmmError
from fitting.avatar import Avatar, prior_sha256
from fitting.state import Solution
from prior.codebank import FILE as CODE_BANK
from prior.codebank import read_code_bank
from prior.weights import load_weights
from tests.fitting.tiny import RENDERING, tiny_model
from tests.prior.test_animation import make_curve
from tools.viewer.source import Source, open_source
from tools.viewer.source_config import SourceConfig
from tools.viewer.state import Start


def copy_of(run: Path, folder: Path, *without: str) -> Path:
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*without))
    return folder


def make_avatar(run: Path, folder: Path) -> Path:
    """An avatar of a blend of the run's people, as a fit would leave it."""
    model, _, _ = load_weights(run)
    generator = torch.Generator().manual_seed(2)
    solution = Solution(
        z_id=torch.randn(1, 8, generator=generator),
        weights=torch.full((3,), 1 / 3),
        z_e=torch.randn(1, 6, generator=generator),
        light=torch.rand(12, 3, generator=generator),
        rotation=torch.eye(3)[None],
        translation=torch.zeros(1, 3),
        cameras=_one_camera(),
    )
    description = {"inversion_key": "", "prior": {"sha256": prior_sha256(run)}, "placed": True}
    report = {"seconds": {"inversion": 0.0}, "losses": {"inversion": []}}
    Avatar(
        model=model,
        rendering=RENDERING,
        solution=solution,
        inversion=solution,
        description=description,
        report=report,
    ).save(folder)
    return folder


def _one_camera():
    from tests.fitting.tiny import cameras

    return cameras((0.0,))


def test_a_run_opens_with_its_people_and_frames(run: Path, source: Source) -> None:
    model, _, _ = load_weights(run)
    assert source.step == 7
    assert list(source.identities) == ["s0", "s1", "s2"]
    assert torch.equal(source.blend(()), model.identity_codes.weight[:1])
    mixed = source.blend((("s1", 1.0), ("s2", 3.0)))
    assert torch.allclose(mixed[0], 0.25 * model.identity_codes.weight[1] + 0.75 * model.identity_codes.weight[2])
    assert torch.allclose(source.expressions.rest, read_code_bank(run).mean(dim=0))
    assert source.captured is not None
    assert list(source.captured.keys) == ["s0", "s1", "s2", "s3"]
    assert "real people" in source.expressions.without_controls
    assert source.irradiance > 0.0


def test_wrong_names_and_weights_are_told(source: Source) -> None:
    with pytest.raises(VrmmError, match="no identity p99; there are s0, s1, s2"):
        source.blend((("p99", 1.0),))
    with pytest.raises(VrmmError, match="sum to 0"):
        source.blend((("s0", 1.0), ("s1", -1.0)))
    with pytest.raises(VrmmError, match="is no avatar"):
        source.start(Start.PHOTO)


def test_a_run_in_training_has_directions_of_its_newest_weights(run: Path, tmp_path: Path, source: Source) -> None:
    found = open_source(SourceConfig(folder=copy_of(run, tmp_path / "run", CODE_BANK)))
    # the tiny capture has fewer frames than are encoded: the bank of the finished run is the same
    assert torch.allclose(found.expressions.rest, source.expressions.rest, atol=1e-6)
    assert torch.allclose(found.expressions.directions, source.expressions.directions, atol=1e-5)


def test_a_run_without_its_capture_can_still_be_looked_at(run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path / "run", "recipe.yaml")
    found = open_source(SourceConfig(folder=folder))
    assert found.captured is None
    assert "recipe.yaml" in found.without_captured
    with pytest.raises(VrmmError, match="nowhere"):
        open_source(SourceConfig(folder=run, shards=tmp_path / "nowhere"))


def test_folders_that_cannot_be_looked_at_are_named(run: Path, tmp_path: Path) -> None:
    young = tmp_path / "young"
    young.mkdir()
    shutil.copy(run / "recipe.yaml", young)
    with pytest.raises(VrmmError, match="has saved no weights yet"):
        open_source(SourceConfig(folder=young))
    with pytest.raises(VrmmError, match="not a run folder"):
        open_source(SourceConfig(folder=tmp_path / "nothing"))


def test_a_curve_of_another_code_is_refused(run: Path, tmp_path: Path) -> None:
    make_curve(codes=6).save(tmp_path / "good.npz")
    make_curve(codes=5).save(tmp_path / "bad.npz")
    assert open_source(SourceConfig(folder=run, curve=tmp_path / "good.npz")).curve is not None
    with pytest.raises(VrmmError, match=r"bad.npz has expression codes of 5 numbers and this model takes 6"):
        open_source(SourceConfig(folder=run, curve=tmp_path / "bad.npz"))


def test_an_avatar_opens_with_its_own_person_light_and_expression(run: Path, tmp_path: Path) -> None:
    avatar = make_avatar(run, tmp_path / "avatar")
    alone = open_source(SourceConfig(folder=avatar))
    solution = Solution.read(avatar / "identity.npz")[0]
    assert list(alone.identities) == ["fitted", "s0", "s1", "s2"]
    assert torch.equal(alone.blend(()), solution.z_id)
    assert torch.equal(alone.start(Start.PHOTO), solution.z_e[0])
    assert alone.fitted_light is not None
    assert torch.equal(alone.fitted_light, solution.light)
    assert "--prior" in alone.expressions.origin
    assert "--prior" in alone.without_captured
    informed = open_source(SourceConfig(folder=avatar, prior=run))
    assert informed.captured is not None
    assert torch.allclose(informed.expressions.rest, read_code_bank(run).mean(dim=0))


def test_another_prior_than_the_avatars_is_refused(run: Path, tmp_path: Path) -> None:
    from prior.weights import save_weights

    avatar = make_avatar(run, tmp_path / "avatar")
    save_weights(tiny_model(seed=1, subjects=3), RENDERING, tmp_path / "other")
    with pytest.raises(VrmmError, match="other is not the prior that .*avatar was fitted with"):
        open_source(SourceConfig(folder=avatar, prior=tmp_path / "other"))
    with pytest.raises(VrmmError, match="--prior"):
        open_source(SourceConfig(folder=avatar, shards=tmp_path))


def test_the_stamp_tells_other_weights(run: Path, tmp_path: Path) -> None:
    config = SourceConfig(folder=copy_of(run, tmp_path / "run"))
    before = config.stamp()
    assert before
    assert config.stamp() == before
    shutil.copy(config.folder / "weights.safetensors", tmp_path / "same")
    (tmp_path / "same").replace(config.folder / "weights.safetensors")
    assert config.stamp() != before
    assert dataclasses.replace(config, folder=tmp_path / "nothing").stamp() == ()
