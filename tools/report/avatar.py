"""The section about one avatar: how well its photos are reproduced, what it cost, what it did to the prior."""

from typing import Any

from tools.report import html
from tools.report.charts import Line, line_chart
from tools.report.material import Material

DIAGNOSTICS = {
    "prior_distance": "change of other identities by the fine-tuning, of 255 (0: none)",
    "identity_leak": "share of the way that others were moved towards this person (0: none)",
    "expression_response": "how strongly random expressions show, relative to the prior (1: the same)",
}
STAGES = {"inversion": "inversion", "finetuned": "fine-tuned"}
METRICS = (
    ("psnr", "PSNR dB", ".2f"),
    ("ssim", "SSIM", ".3f"),
    ("mae255", "MAE /255", ".2f"),
    ("mask_iou", "IoU", ".3f"),
)


def avatar_section(material: Material) -> list[str]:
    """Tables and curves of an avatar's fit.json; empty where there is no avatar."""
    found = material.avatar
    if not found:
        return []
    head = ["", *(label for _, label, _ in METRICS)]
    rows = [
        [label, *(f"{found['input'][stage][key]:{style}}" for key, _, style in METRICS)]
        for stage, label in STAGES.items()
        if stage in found.get("input", {})
    ]
    table = html.table(head, rows, "The photos as the avatar reproduces them, inside their masks.")
    return [_verdict(found, material.description), table, _light(found), _diagnostics(found), _curves(found)]


def _verdict(found: dict[str, Any], description: dict[str, Any]) -> str:
    photos = description.get("photos", [])
    cameras = "with their cameras" if description.get("placed") else "whose cameras were found with the face"
    words = f"Fitted to {', '.join(photos)}, {cameras}. "
    reasons = found.get("reasons", [])
    return html.paragraph(words + ("It is sound." if not reasons else f"It is not sound: {'; '.join(reasons)}."))


def _light(found: dict[str, Any]) -> str:
    light, focal = found.get("light"), found.get("focal", [])
    if not light:
        return ""
    red, green, blue = light["irradiance"]
    words = (
        f"The light of the photos has the colour {red:.2f}, {green:.2f}, {blue:.2f} (irradiance) and is "
        f"{light['directedness']:.0%} directed. "
    )
    return html.paragraph(words + f"Focal lengths, pixels of the working size: {', '.join(f'{f:.0f}' for f in focal)}.")


def _diagnostics(found: dict[str, Any]) -> str:
    values = found.get("diagnostics", {})
    rows = [[html.text(label), f"{values[key]:.3f}"] for key, label in DIAGNOSTICS.items() if key in values]
    rows += [[f"{name}, seconds", f"{seconds:.0f}"] for name, seconds in found.get("seconds", {}).items()]
    return html.table(["", "value"], rows, "What the fit did to the rest of the model, and what it cost.")


def _curves(found: dict[str, Any]) -> str:
    losses = found.get("losses", {})
    figures = []
    for names, caption in (
        (["inversion"], "The objective of the inversion, step by step (thinned)."),
        (["finetuning", "locality"], "The objective of the fine-tuning, and the part that keeps it near the prior."),
    ):
        lines = [Line(name=name, x=range(len(losses.get(name, []))), y=losses.get(name, [])) for name in names]
        chart = line_chart(lines, x_label="point", y_label="loss", logarithmic=True)
        figures.append(html.figure(chart, caption))
    return html.figures(*figures)
