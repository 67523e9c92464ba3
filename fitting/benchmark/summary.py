"""The benchmark's numbers: means over pictures and people, by set of photos and stage."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fitting.benchmark.people import Someone
from fitting.stages import STAGES
from fitting.truth import Category
from prior.metrics import mean_metrics

NEW = (Category.NOVEL_VIEW, Category.EXPRESSION, Category.RELIGHT)
"""What no photo shows."""
MEAN_PSNR = "mean_psnr"
_METRICS = ("mae255", "psnr", "ssim", "lpips", "mask_iou")
_FIT = ("seconds", "pose_degrees", "landmark_error", "scale", "sound")


def set_summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One set of photos: by stage the metrics of each category, ``mean_psnr`` over what no photo shows, and how well
    heads stand where they truly were.

    Args:
        results: result.json of one person each. Every person counts alike.
    """
    return {stage: _means([stage_summary(result, stage) for result in results]) for stage in STAGES}


def stage_summary(result: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """One person's avatar: means over its pictures."""
    entry: dict[str, Any] = {}
    for category in Category:
        rows = [row[stage] for row in result["rows"] if row["category"] == category.value]
        entry[category.value] = {**mean_metrics(rows), "images": len(rows)}
    entry[MEAN_PSNR] = statistics.fmean(entry[category.value]["psnr"] for category in NEW)
    fit = result["stages"][stage]
    return entry | {name: float(fit[name]) for name in _FIT}


def pictures_csv(
    results: Sequence[Mapping[str, Any]], people: Mapping[str, Someone], tones: Mapping[str, float]
) -> str:
    """A line for every picture of every avatar."""
    columns = ["person", "head", "tone", "set", "stage", "category", "camera", "light", *_METRICS]
    lines = []
    for result in results:
        name = result["person"]
        who = {"person": name, "head": people[name].head.name, "tone": round(tones[name], 3), "set": result["set"]}
        for row in result["rows"]:
            what = {key: row[key] for key in ("category", "camera", "light")}
            lines += [{**who, "stage": stage, **what, **row[stage]} for stage in STAGES]
    return _csv(columns, lines)


def fits_csv(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for every avatar: its means, pose, time and whether its fit says that it is sound."""
    names = [f"{category.value}_{metric}" for category in Category for metric in ("mae255", "psnr", "ssim")]
    lines = []
    for result in results:
        for stage in STAGES:
            found = stage_summary(result, stage)
            means = {name: found[name.rpartition("_")[0]][name.rpartition("_")[2]] for name in names}
            rest = {name: found[name] for name in (MEAN_PSNR, *_FIT)}
            lines.append({"person": result["person"], "set": result["set"], "stage": stage, **means, **rest})
    return _csv(["person", "set", "stage", *names, MEAN_PSNR, *_FIT], lines)


def _means(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of every number in equal nested dictionaries."""
    first = entries[0]
    return {
        key: _means([entry[key] for entry in entries])
        if isinstance(value, Mapping)
        else statistics.fmean(entry[key] for entry in entries)
        for key, value in first.items()
    }


def _csv(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in line.items()} for line in lines
    )
    return text.getvalue()
