"""``evaluate``: a trained run against rendered truth; evaluation.json and sheets of pictures."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.files import atomic_write_json
from datasets.lightstage.render import RenderedImage
from datasets.lightstage.stage import LightStage
from prior.evaluation.answers import Answerer
from prior.evaluation.jitter import jitter
from prior.evaluation.leakage import leakage
from prior.evaluation.plan import OTHER_HEADS, Category, EvaluationConfig, Shot, plan_shots
from prior.evaluation.pose import pose_errors
from prior.evaluation.run import TrainedRun, load_run
from prior.evaluation.sheets import Comparison, write_sheet
from prior.evaluation.truth import StageMaker, TruthStage, TruthStore
from prior.lpips import LEAST_SIZE, LPIPS
from prior.metrics import image_metrics, mask_iou, mean_metrics

Progress = Callable[[int, int], object]


def light_stage(info: CaptureInfo) -> TruthStage:
    """The light stage that made a capture."""
    return cast(TruthStage, LightStage.from_info(info))


def evaluate(
    run_folder: Path,
    progress: Progress | None = None,
    *,
    config: EvaluationConfig | None = None,
    shards: Path | None = None,
    processes: int = 2,
    truth_folder: Path | None = None,
    make_stage: StageMaker = light_stage,
) -> dict[str, Any]:
    """Compare a run's model with clean renderings of the same scenes.

    Writes ``evaluation.json``, ``sheets/{category}.png`` and ``sheets/images.json`` (every picture's numbers) to the
    run folder, and keeps the truth in ``truth/`` for the next time. PSNR, SSIM and MAE are those of
    ``prior.metrics``: in the true head mask, after display encoding, mean over pictures. LPIPS is there if the config
    names its weights.

    Args:
        run_folder: written by the trainer.
        progress: called with (pictures done, pictures in all); rendering and comparing count as one each.
        config: how many pictures, and what else is measured.
        shards: the run's training data, where they have moved.
        processes: that render truth; 0 renders in this one.
        truth_folder: keeps the truth, for runs that are compared; None is ``truth/`` of the run folder.
        make_stage: how the truth is rendered.

    Raises:
        VrmmError: no run, no shards, no such weights, or a capture whose truth cannot be rendered.
    """
    started = time.perf_counter()
    config = config or EvaluationConfig()
    run = load_run(run_folder, shards)
    if run.shards.info.synthetic is None:
        raise VrmmError(f"{run.shards.folder} is no capture of the light stage, so there is no truth to compare with")
    lpips = _load_lpips(run, config.lpips_weights)
    stage = make_stage(run.shards.info)
    shots = plan_shots(run, stage, config)
    report = progress or (lambda done, total: None)
    store = TruthStore(
        truth_folder or run.folder / "truth", run.shards.info, make_stage, samples=config.samples, processes=processes
    )
    truths = store.get([shot.truth for shot in shots], lambda done, total: report(done, 2 * total))
    answerer = Answerer(run)
    comparisons = []
    for shot, truth in zip(shots, truths, strict=True):
        comparisons.append(compare(answerer, shot, truth, lpips))
        report(len(shots) + len(comparisons), 2 * len(shots))
    result = summary(run, comparisons, {subject.name: subject.tone for subject in stage.subjects})
    result["pose"] = pose_errors(run, answerer, config.pose_frames)
    result["leakage"] = leakage(run, answerer, config.probe_frames)
    result["jitter"] = jitter(run, stage, answerer, config.jitter_subjects)
    result["seconds"] = time.perf_counter() - started
    _write(run.folder, comparisons, result, config)
    return result


def compare(answerer: Answerer, shot: Shot, truth: RenderedImage, lpips: LPIPS | None = None) -> Comparison:
    """Answer one shot and measure every answer in the true mask, with LPIPS if it is given."""
    answers = answerer.answer(shot)
    image, mask = torch.as_tensor(truth.image), torch.as_tensor(truth.mask)
    pictures = answers.pictures()
    metrics = {name: image_metrics(picture, image, mask) for name, picture in pictures.items()}
    if lpips is not None:
        for name, picture in pictures.items():
            metrics[name]["lpips"] = lpips.inside(picture, image, mask)
    metrics["model"]["mask_iou"] = mask_iou(answers.alpha, mask)
    transfer = shot.category is Category.EXPRESSION_TRANSFER
    source = answerer.captured(shot.frame.key, shot.camera.name) if transfer else None
    return Comparison(shot=shot, truth=image, mask=mask, answers=answers, metrics=metrics, source=source)


def summary(run: TrainedRun, comparisons: Sequence[Comparison], tones: dict[str, float]) -> dict[str, Any]:
    """The content of evaluation.json: means over pictures, by category and by subject (whose skin tone is given)."""
    result: dict[str, Any] = {}
    for category in Category:
        rows = [comparison.metrics for comparison in comparisons if comparison.shot.category is category]
        if rows:
            means = {name: mean_metrics([row[name] for row in rows]) for name in rows[0]}
            result[category.value] = {**means.pop("model"), "images": len(rows), **means}
    own = [comparison for comparison in comparisons if comparison.shot.category not in OTHER_HEADS]
    result["mask_iou"] = _mean([comparison.metrics["model"]["mask_iou"] for comparison in own])
    by_subject = {name: [c.metrics["model"] for c in own if c.shot.subject == name] for name in run.subjects}
    result["subjects"] = {
        name: {"tone": tones[name], **mean_metrics(rows)} for name, rows in by_subject.items() if rows
    }
    height, width = comparisons[0].truth.shape[-2:]
    result["model"] = {"step": run.step, "primitives": run.model.config.primitives, "width": width, "height": height}
    return result


def _load_lpips(run: TrainedRun, weights: str) -> LPIPS | None:
    """None without weights; complains before anything is rendered."""
    if not weights:
        return None
    smallest = min(min(camera.width, camera.height) for camera in run.cameras("train"))
    if smallest < LEAST_SIZE:
        raise VrmmError(
            f"LPIPS needs pictures of {LEAST_SIZE} pixels or more, not {smallest}; evaluate without --lpips-weights"
        )
    return LPIPS(Path(weights))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _write(folder: Path, comparisons: Sequence[Comparison], result: dict[str, Any], config: EvaluationConfig) -> None:
    """Sheets first: evaluation.json says that the evaluation is complete."""
    for category in Category:
        chosen = [comparison for comparison in comparisons if comparison.shot.category is category]
        if chosen:
            write_sheet(folder / "sheets", category, chosen, config.examples)
    rows = [
        {
            "category": comparison.shot.category.value,
            "subject": comparison.shot.subject,
            **({"other": comparison.shot.other} if comparison.shot.other else {}),
            "key": comparison.shot.frame.key,
            "camera": comparison.shot.camera.name,
            "light": comparison.shot.light_name,
            **comparison.metrics,
        }
        for comparison in comparisons
    ]
    atomic_write_json(folder / "sheets" / "images.json", rows)
    atomic_write_json(folder / "evaluation.json", result)
