"""Evaluation against truth, with a stage whose truth is the model itself."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.lightstage.environment import EnvironmentMap
from datasets.shards import build_shards
from prior.evaluate import evaluate
from prior.evaluation.answers import Answerer
from prior.evaluation.leakage import probe_frames
from prior.evaluation.plan import Category, EvaluationConfig, mean_light, plan_shots
from prior.evaluation.pose import aligned_errors
from prior.evaluation.run import load_run
from prior.evaluation.truth import TruthStore
from tests.datasets.tiny_capture import TinyCapture
from tests.prior.mirror_stage import SIZE, MirrorStage, make_run
from tests.prior.test_lpips import made_up

FEW = EvaluationConfig(
    training_view=3,
    held_out_camera=2,
    held_out_light=3,
    held_out_lamp=2,
    held_out_frame=2,
    environment=2,
    expression_transfer=3,
    identity_interpolation=3,
    pose_frames=2,
    examples=3,
    jitter_subjects=2,
)
PICTURES = sum(getattr(FEW, category.value) for category in Category)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def result(run_folder: Path) -> dict:
    return evaluate(run_folder, config=FEW, processes=0, make_stage=lambda info: MirrorStage(run_folder))


def test_truth_made_by_the_model_itself_is_met_in_every_category(result: dict) -> None:
    for category in Category:
        assert result[category.value]["psnr"] > 80.0, category
        assert result[category.value]["ssim"] > 0.9999, category
        assert result[category.value]["mae255"] < 0.01, category
        assert result[category.value]["images"] == getattr(FEW, category.value), category
    assert result["mask_iou"] > 0.999


def test_baselines_are_worse_than_the_truth(result: dict) -> None:
    for category in Category:
        assert result[category.value]["mean_image"]["psnr"] < 40.0, category
        assert result[category.value]["mean_light"]["psnr"] < 60.0, category
    assert result["expression_transfer"]["neutral"]["psnr"] < 80.0
    assert "neutral" not in result["training_view"]
    assert result["identity_interpolation"]["first"]["psnr"] < 80.0
    assert "first" not in result["expression_transfer"]


def test_means_over_subjects_are_of_captured_subjects_alone(result: dict, run_folder: Path) -> None:
    rows = json.loads((run_folder / "sheets" / "images.json").read_text())
    own = [row for row in rows if row["category"] not in ("expression_transfer", "identity_interpolation")]
    for name, means in result["subjects"].items():
        found = [row["model"]["ssim"] for row in own if row["subject"] == name]
        assert means["ssim"] == pytest.approx(np.mean(found)), name
    assert [row["other"] for row in rows if "other" in row] == ["s1", "s2", "s0"]


def test_codes_are_probed_and_primitives_watched(result: dict) -> None:
    """The mirror stage says that the true surface is where the model's own primitives are."""
    probed = result["leakage"]
    assert probed["frames"] == 3 * 5
    assert probed["identity_chance"] == pytest.approx(1 / 3)
    assert all(np.isfinite(value) for value in probed.values())
    trembling = result["jitter"]
    assert trembling["frames"] == 2 * 2  # frames 0 to 3 of two subjects; the fourth is held out
    assert trembling["primitive_mm"] > 0.0
    assert trembling["true_mm"] == pytest.approx(trembling["primitive_mm"], rel=1e-5)


def test_probed_codes_are_those_of_their_frames(run_folder: Path) -> None:
    run = load_run(run_folder)
    answerer = Answerer(run)
    frames = probe_frames(run, answerer, 1000)
    keys = [frame.key for subject in run.subjects for frame in run.training_frames(subject)]
    assert len(keys) == len(frames.subjects) == 15
    for row in (0, 7, 14):
        frame = run.shards.frame(run.shards.sample(keys[row]))
        assert frames.subjects[row] == frame.subject
        np.testing.assert_allclose(frames.z_e[row], answerer.encode(keys[row]).mean[0].numpy())
        np.testing.assert_allclose(frames.expression[row], frame.expression)
        number = run.subjects.index(frame.subject)
        np.testing.assert_allclose(frames.z_id[row], run.model.identity_codes.weight[number].detach().numpy())
    assert len(probe_frames(run, answerer, 5).subjects) == 5


def test_lpips_is_measured_where_its_weights_are(tmp_path: Path) -> None:
    alexnet, heads = made_up()
    torch.save(alexnet | heads, tmp_path / "alex.pth")
    config = EvaluationConfig(
        **{category.value: 0 for category in Category}
        | {"training_view": 1, "expression_transfer": 1, "pose_frames": 1, "lpips_weights": str(tmp_path / "alex.pth")}
    )
    large = make_run(tmp_path / "large", size=32)
    result = evaluate(large, config=config, processes=0, make_stage=lambda info: MirrorStage(large))
    row = result["expression_transfer"]
    assert row["lpips"] < 1e-4 < row["mean_light"]["lpips"]
    assert row["neutral"]["lpips"] > 1e-4
    small, stage = make_run(tmp_path / "small"), MirrorStage(tmp_path / "small" / "run")
    with pytest.raises(VrmmError, match="needs pictures of 31 pixels or more, not 24; evaluate without"):
        evaluate(small, config=config, processes=0, make_stage=lambda info: stage)
    missing = EvaluationConfig(lpips_weights=str(tmp_path / "none"))
    with pytest.raises(VrmmError, match="no file and no folder"):
        evaluate(large, config=missing, processes=0, make_stage=lambda info: stage)
    assert stage.requests == [], "nothing is rendered before a mistake is found"


def test_what_is_written_is_what_is_returned(result: dict, run_folder: Path) -> None:
    assert json.loads((run_folder / "evaluation.json").read_text()) == result
    for category in Category:
        sheet = cv2.imread(str(run_folder / "sheets" / f"{category.value}.png"))
        assert min(sheet.shape[:2]) > 150
    rows = json.loads((run_folder / "sheets" / "images.json").read_text())
    transfers = [row["model"]["psnr"] for row in rows if row["category"] == "expression_transfer"]
    assert np.mean(transfers) == pytest.approx(result["expression_transfer"]["psnr"])


def test_a_second_evaluation_renders_nothing(result: dict, run_folder: Path) -> None:
    stage = MirrorStage(run_folder)
    seen: list[tuple[int, int]] = []
    again = evaluate(run_folder, lambda *x: seen.append(x), config=FEW, processes=0, make_stage=lambda info: stage)
    assert stage.requests == []
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert seen == sorted(seen)
    assert seen[-1] == (2 * PICTURES, 2 * PICTURES)


def test_the_plan_asks_for_what_the_model_has_not_seen(run_folder: Path) -> None:
    run = load_run(run_folder)
    shots = plan_shots(run, MirrorStage(run_folder), EvaluationConfig())
    by = {category: [shot for shot in shots if shot.category is category] for category in Category}
    assert [len(by[category]) for category in Category] == [20, 16, 18, 6, 16, 10, 16, 12]
    for category in Category:
        splits = {shot.frame.split for shot in by[category]}
        assert splits == ({"held_out"} if category is Category.HELD_OUT_FRAME else {"train"}), category
        cameras = {shot.camera.split for shot in by[category]}
        assert cameras == ({"held_out"} if category is Category.HELD_OUT_CAMERA else {"train"}), category
        assert {shot.subject for shot in by[category]} == set(run.subjects), category
    assert len({shot.camera.name for shot in by[Category.TRAINING_VIEW]}) == 6
    for shot in by[Category.EXPRESSION_TRANSFER]:
        assert shot.frame.subject != shot.subject == shot.truth.subject
        assert shot.neutral is not None
        assert shot.neutral.subject == shot.subject
        assert shot.truth.expression == shot.frame.expression
    for shot in by[Category.IDENTITY_INTERPOLATION]:
        assert shot.frame.subject == shot.subject == shot.truth.subject != shot.other == shot.truth.other
        assert shot.light_name == "full on"
        strengths = [np.linalg.norm(frame.expression) for frame in run.training_frames(shot.subject)]
        assert np.linalg.norm(shot.truth.expression) == min(strengths)
    pairs = {frozenset((shot.subject, shot.other)) for shot in by[Category.IDENTITY_INTERPOLATION]}
    assert len(pairs) == 3
    assert all(isinstance(shot.truth.light, EnvironmentMap) for shot in by[Category.ENVIRONMENT])
    assert plan_shots(run, MirrorStage(run_folder), EvaluationConfig())[5].frame == shots[5].frame


def test_mean_light_keeps_the_mean_power(run_folder: Path) -> None:
    run = load_run(run_folder)
    frames = [frame for subject in run.subjects for frame in run.training_frames(subject)]
    total = np.mean([frame.light.irradiance.sum(axis=0) for frame in frames], axis=0)
    np.testing.assert_allclose(mean_light(run).irradiance.sum(axis=0), total, rtol=1e-9)


def test_mean_image_is_that_of_the_subject_and_camera(run_folder: Path) -> None:
    run = load_run(run_folder)
    capture = TinyCapture(subjects=4, frames=6, size=(SIZE, SIZE))
    images = [capture.image(frame.key, "left") for frame in run.training_frames("s1")]
    assert len(images) == 5
    expected = torch.tensor(np.mean(images, axis=0)).permute(2, 0, 1)
    torch.testing.assert_close(Answerer(run).mean_image("s1", "left"), expected, atol=2e-5, rtol=0)  # 16-bit PNG
    assert run.nearest_training_camera(run.shards.info.camera("hidden")) == "top"
    assert run.nearest_training_camera(run.shards.info.camera("left")) == "left"


def test_pose_errors_ignore_one_constant_change_of_the_head_frame() -> None:
    true = Rotation.random(9, random_state=3).as_matrix(), np.random.default_rng(4).normal(size=(9, 3))
    gauge, shift = Rotation.from_rotvec([0.2, -0.4, 0.1]).as_matrix(), np.array([0.01, -0.02, 0.03])
    found = true[0] @ gauge, true[1] + true[0] @ shift
    degrees, metres = aligned_errors(found, true)
    assert degrees.max() < 1e-5
    assert metres.max() < 1e-12
    found[0][4] = found[0][4] @ Rotation.from_rotvec([0.0, 0.0, np.radians(5.0)]).as_matrix()
    found[1][4] += [0.002, 0.0, 0.0]
    degrees, metres = aligned_errors(found, true)
    # The median is taken component by component, so one bad frame of nine leaves the rest almost where it was.
    assert degrees[4] == pytest.approx(5.0, abs=0.1)
    assert np.delete(degrees, 4).max() < 0.1
    np.testing.assert_allclose(metres, [0, 0, 0, 0, 0.002, 0, 0, 0, 0], atol=1e-9)


def test_truth_depends_on_all_of_its_content(run_folder: Path, tmp_path: Path) -> None:
    run = load_run(run_folder)
    info = run.shards.info
    request = plan_shots(run, MirrorStage(run_folder), FEW)[0].truth
    other_pose = dataclasses.replace(request.pose, translation=request.pose.translation + 1e-3)
    changed = [
        dataclasses.replace(request, subject="s2"),
        dataclasses.replace(request, other="s2"),
        dataclasses.replace(request, expression=(*request.expression[:-1], 0.123)),
        dataclasses.replace(request, light=request.light.scaled(1.01)),
        dataclasses.replace(request, camera=request.camera.resized(48, 48)),
        dataclasses.replace(request, pose=other_pose),
    ]

    def store(info: CaptureInfo = info, samples: int = 4) -> TruthStore:
        return TruthStore(tmp_path, info, lambda info: MirrorStage(run_folder), samples=samples, processes=0)

    paths = [store().path(other) for other in [request, *changed]]
    paths.append(store(samples=5).path(request))
    paths.append(store(info=dataclasses.replace(info, synthetic={"seed": 1})).path(request))
    assert len(set(paths)) == len(paths)
    assert store().path(dataclasses.replace(request, camera=dataclasses.replace(request.camera, name="x"))) == paths[0]
    both = dataclasses.replace(request, other="s2")
    assert store().path(dataclasses.replace(both, subject="s2", other=request.subject)) == store().path(both)


def test_truth_that_is_asked_for_twice_is_rendered_once(run_folder: Path, tmp_path: Path) -> None:
    run = load_run(run_folder)
    first, second = (shot.truth for shot in plan_shots(run, MirrorStage(run_folder), FEW)[:2])
    store = TruthStore(tmp_path, run.shards.info, lambda info: MirrorStage(run_folder), samples=4, processes=0)
    heard: list[tuple[int, int]] = []
    found = store.get([first, second, first], lambda done, total: heard.append((done, total)))
    assert heard == [(0, 2), (1, 2), (2, 2)]
    assert np.array_equal(found[0].image, found[2].image)
    assert not np.array_equal(found[0].image, found[1].image)


def test_a_real_capture_has_no_truth(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    build_shards(TinyCapture(subjects=4, frames=6, size=(SIZE, SIZE)), tmp_path / "real")
    with pytest.raises(VrmmError, match="no capture of the light stage"):
        evaluate(run, config=FEW, shards=tmp_path / "real")
    build_shards(TinyCapture(subjects=3, frames=2, size=(SIZE, SIZE)), tmp_path / "other")
    with pytest.raises(VrmmError, match="other subjects"):
        evaluate(run, config=FEW, shards=tmp_path / "other")
    with pytest.raises(VrmmError, match="not a run folder"):
        evaluate(tmp_path)
    assert not (run / "evaluation.json").exists()
