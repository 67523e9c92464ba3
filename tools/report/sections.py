"""The sections of the page, one function each; a section whose material is absent is empty."""

import shlex
from typing import Any

import numpy as np

from tools.evaluate import LABELS, code_words
from tools.report import html
from tools.report.charts import Line, bar_chart, dot_chart, line_chart
from tools.report.fits import avatar_commands, fit_commands, fit_parts
from tools.report.material import Material
from tools.report.shows import file_name, programs

WANTED_PSNR = {
    "training_view": 27.0,
    "held_out_camera": 26.5,
    "held_out_light": 25.5,
    "held_out_frame": 24.0,
    "environment": 23.5,
}
"""What the full demo is meant to reach, dB."""
WANTED_ABOVE_MEAN_LIGHT = 5.0
WANTED_ABOVE_NEUTRAL = 1.5
WANTED_IOU = 0.98

CAPTIONS = {
    "training_view": "Frames and cameras that were trained on, against clean renderings.",
    "held_out_camera": "The same frames through cameras that were never trained on.",
    "held_out_light": "Captured faces under groups of lamps that were never trained on; last, the same model given "
    "the mean light of the training.",
    "held_out_lamp": "Captured faces under one lamp that burnt in groups only: the hardest light.",
    "held_out_frame": "Expressions that were never trained on, read from three views by the expression encoder.",
    "environment": "Lit by made-up places (studio, sky, sunset, window, neon) instead of lamps.",
    "expression_transfer": "The expression of one person (last column) on another; “neutral” is the same model "
    "without it.",
    "identity_interpolation": "Codes half-way between two people, against the true head half-way between theirs; last, "
    "the first of the two alone.",
}
STAGES = {
    "capture": "capture: render the people",
    "shards": "shards: pack and verify",
    "train": "train the prior",
    "evaluate": "evaluate against truth",
    "fit": "fit new people",
    "shows": "videos and transfer",
    "report": "this page",
}


def evaluation_section(material: Material) -> list[str]:
    """The table of evaluation.json, what it is compared with, and a sheet for each category."""
    found = material.evaluation
    if not found:
        return []
    intro = (
        "All numbers are taken inside the true head mask after display encoding, against renderings so clean that they "
        "agree with a converged one to 40 dB. The model is given cameras and lamps; expression and head pose "
        "it has to read from three captured views."
    )
    sheets = html.figures(*[_sheet(material, name, label) for name, label in LABELS.items()])
    codes = [html.paragraph(words) for words in code_words(found)]
    return [html.paragraph(intro), _evaluation_table(found), _pose_words(found), *codes, sheets, _subjects(found)]


def _sheet(material: Material, name: str, label: str) -> str:
    picture = html.image(material.prior / "sheets" / f"{name}.png", label)
    return html.figure(picture, f"{label.capitalize()}. {CAPTIONS[name]}", wide=True)


def _evaluation_table(found: dict[str, Any]) -> str:
    head = ["", "PSNR dB", "wanted", "SSIM", "MAE /255", "mean light dB", "mean image dB", "neutral dB", "pictures"]
    rows = [
        [html.text(label), *_evaluation_cells(name, found[name])] for name, label in LABELS.items() if name in found
    ]
    rows.append(
        ["mask IoU", f"<b>{found['mask_iou']:.3f}</b>", verdict(found["mask_iou"], WANTED_IOU, ".2f"), *[""] * 6]
    )
    caption = (
        "Mean light: the same model given the mean light of the training (wanted: 5 dB below it under new lights). "
        "Mean image: the mean training image of that person and camera. Neutral: the same model without the expression "
        "(wanted: 1.5 dB below it)."
    )
    return html.table(head, rows, caption)


def _evaluation_cells(name: str, row: dict[str, Any]) -> list[str]:
    mean_light, neutral = row["mean_light"]["psnr"], row.get("neutral", {}).get("psnr")
    light = f"{mean_light:.1f}"
    if name == "held_out_light":
        light += " " + verdict(row["psnr"] - mean_light, WANTED_ABOVE_MEAN_LIGHT, "+.1f")
    still = "" if neutral is None else f"{neutral:.1f} " + verdict(row["psnr"] - neutral, WANTED_ABOVE_NEUTRAL, "+.1f")
    wanted = verdict(row["psnr"], WANTED_PSNR[name], ".1f") if name in WANTED_PSNR else ""
    return [
        f"<b>{row['psnr']:.2f}</b>",
        wanted,
        f"{row['ssim']:.3f}",
        f"{row['mae255']:.2f}",
        light,
        f"{row['mean_image']['psnr']:.1f}",
        still,
        str(row["images"]),
    ]


def verdict(value: float, wanted: float, style: str) -> str:
    """``≥ wanted`` in words that say whether it is met."""
    met = value >= wanted
    return f'<span class="{"met" if met else "missed"}">≥ {wanted:{style}} {"✓" if met else "✗"}</span>'


def _pose_words(found: dict[str, Any]) -> str:
    pose = found.get("pose")
    if not pose:
        return ""
    return html.paragraph(
        f"Nobody told the model how the heads moved. Its own estimate is within {pose['rotation_degrees']:.1f}° and "
        f"{pose['translation_mm']:.1f} mm of the truth (median over {pose['frames']} frames, one constant offset per "
        f"person taken out); guessing that they never move is {pose['still_rotation_degrees']:.1f}° and "
        f"{pose['still_translation_mm']:.1f} mm off."
    )


def _subjects(found: dict[str, Any]) -> str:
    people = {name: row for name, row in found.get("subjects", {}).items() if "tone" in row}
    dots = [(row["tone"], row["psnr"], f"{name}: {row['psnr']:.1f} dB") for name, row in people.items()]
    chart = dot_chart(dots, x_label="skin tone, light to dark", y_label="PSNR dB")
    return html.figures(html.figure(chart, "Every training person by skin tone: is the model as good for everyone?"))


def motion_section(material: Material) -> list[str]:
    """Videos and sheets, each with the command that makes it, and the transfer sheet of a demo."""
    figures = []
    for program in programs(material):
        path, words = material.shows / file_name(program), program.caption
        if path.suffix == ".mp4":
            figures.append(html.figure(html.video(path, words), words))
        else:
            figures.append(html.figure(html.image(path, words), words, wide=True))
    transfer = html.figure(
        html.image(material.shows / "transfer.png", "expressions of some people on others"),
        "Expressions of six people (top row, as captured) on two training people and on the fitted person, in one "
        "light.",
        wide=True,
    )
    return [html.figures(*figures, transfer)] if any(figures) else []


def fit_section(material: Material) -> list[str]:
    """Tables of fit.json and the comparisons of pictures."""
    return fit_parts(material)


def training_section(material: Material) -> list[str]:
    """Loss curves, quality over time and the last preview."""
    rows = material.metrics
    if not rows:
        return []
    losses = [_curve(rows, name) for name in ("l1", "perceptual", "alpha")]
    codes = [_curve(rows, name) for name in ("kl", "consistency_code", "identity")]
    preview = max((material.prior / "previews").glob("step_*.png"), default=None)
    seconds = float(np.median([row["seconds"] for row in rows if "seconds" in row] or [0.0]))
    facts = f"{rows[-1]['step']} steps, {seconds * 1000:.0f} ms each (median)." if seconds else ""
    return [
        html.paragraph(facts),
        html.figures(
            html.figure(
                line_chart(losses, x_label="step", y_label="loss", logarithmic=True),
                "What the pictures cost: L1 and structure on the square root of radiance, and the silhouette.",
            ),
            html.figure(
                line_chart(codes, x_label="step", y_label="value", logarithmic=True),
                "What the codes cost: information in the expression code (nats), its consistency over identities and "
                "lights, the length of the identity codes.",
            ),
        ),
        html.figures(
            html.figure(
                html.image(preview, "the last preview") if preview else "",
                "The last preview of the training: truth, model, a lamp from the left, another identity.",
                wide=True,
            )
        ),
    ]


def _curve(rows: list[dict[str, Any]], name: str) -> Line:
    """A column of metrics.jsonl, smoothed over neighbouring lines."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    if not points:
        return Line(name=name, x=[], y=[])
    steps, values = np.array(points, float).T
    width = max(1, len(values) // 40)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
    return Line(name=name.replace("_", " "), x=steps.tolist(), y=smooth.tolist())


def time_section(material: Material) -> list[str]:
    """Seconds of every stage."""
    timing = {name: seconds for name, seconds in material.timing.items() if name != "total"}
    bars = [(STAGES.get(name, name), seconds, _clock(seconds)) for name, seconds in timing.items() if seconds > 0]
    if not bars:
        return []
    return [bar_chart(bars), html.paragraph(f"{_clock(material.timing['total'])} in all.")]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def commands_section(material: Material) -> list[str]:
    """Commands that make each part again."""
    shows = [program.line for program in programs(material)]
    page = f"vrmm report {shlex.quote(str(material.folder))}"
    if material.is_avatar:
        return [html.commands([*avatar_commands(material), *shows, page])]
    if not material.is_demo:
        run = shlex.quote(str(material.folder))
        train = [f"vrmm train {run}/recipe.yaml --out {run}"] if material.recipe else []
        return [html.commands([*train, f"vrmm evaluate {run}", *shows, page]), _recipe(material)]
    options, run = material.book.get("options", {}), str(material.folder)
    name = "quick" if options.get("quick") else "demo"
    model = options.get("head_model", "procedural")
    own = model == "procedural"
    changes, template = ("", "") if own else (f" head_model={model}", f" template={model}")
    flags = (" --quick" if name == "quick" else "") + ("" if own else f" --head-model {model}")
    lines = [
        f"vrmm demo --out {run}{flags}",
        "",
        "# or step by step",
        f"vrmm capture synth configs/data/{name}.yaml{changes} --out {run}/capture",
        f"vrmm shards build {run}/capture --out {run}/shards",
        f"vrmm shards verify {run}/shards",
        f"vrmm train configs/prior/{name}.yaml loader.shards={run}/shards{template} --out {run}/prior",
        f"vrmm evaluate {run}/prior",
        *fit_commands(material),
        *shows,
        f"vrmm report {run}",
    ]
    return [html.commands(lines), _recipe(material)]


def _recipe(material: Material) -> str:
    lines = material.recipe.splitlines()
    return html.details("The training recipe, resolved", html.commands(lines)) if lines else ""
