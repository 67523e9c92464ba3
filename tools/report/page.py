"""The page: its head, its sections in order, and the template they go into."""

import dataclasses
import string
from pathlib import Path

from datasets.files import atomic_write_bytes
from fitting.avatar import display_name
from tools.report import html
from tools.report.avatar import avatar_section
from tools.report.material import Material, read_material
from tools.report.sections import (
    commands_section,
    evaluation_section,
    fit_section,
    motion_section,
    time_section,
    training_section,
)

HERE = Path(__file__).parent
SECTIONS = {
    "results": ("Against the truth", evaluation_section),
    "motion": ("In motion", motion_section),
    "fit": ("A person never seen", fit_section),
    "avatar": ("The fit", avatar_section),
    "training": ("Training", training_section),
    "time": ("Time", time_section),
    "commands": ("Do it yourself", commands_section),
}
LEAD = (
    "vrmm learns one volumetric head model from many people filmed in a light stage: it can be lit by any light, take "
    "any expression and be seen from anywhere, and a few photos are enough to fit it to someone new. "
)
DEMO_LEAD = (
    LEAD + "Everything on this page was computed by one run on people who do not exist, so that every picture has a "
    "rendered truth beside it."
)
RUN_LEAD = LEAD + "This page is about one training of it."
AVATAR_LEAD = (
    "A head that vrmm has fitted to photos of one person: it can be turned, lit by any light, and take any expression."
)


def write_report(run: Path, out: Path, *, shows: Path | None = None) -> None:
    """Write the page of a demo, a run or an avatar to ``out``, whole or not at all.

    Args:
        run: its folder.
        out: the page.
        shows: where its videos and sheets are, if not in the folder itself.

    Raises:
        VrmmError: ``run`` is none of them, or ``out`` cannot be written.
    """
    material = read_material(run)
    if shows is not None:
        material = dataclasses.replace(material, shows=shows)
    atomic_write_bytes(Path(out), render_page(material).encode())


def render_page(material: Material) -> str:
    """The whole page; parts that are absent are left out."""
    bodies = {name: html.section(name, title, *make(material)) for name, (title, make) in SECTIONS.items()}
    shown = {name: body for name, body in bodies.items() if body}
    navigation = "".join(f'<a href="#{name}">{html.text(SECTIONS[name][0])}</a>' for name in shown)
    template = string.Template((HERE / "page.html").read_text())
    return template.substitute(
        title=html.text(_title(material)),
        style=(HERE / "page.css").read_text(),
        lead=html.text(_lead(material)),
        cards=html.cards(key_figures(material)),
        navigation=navigation,
        sections="\n".join(shown.values()),
        footer=_footer(material),
    )


def key_figures(material: Material) -> list[tuple[str, str, str]]:
    """The numbers at the top of the page."""
    found, fits = material.evaluation, material.fits
    cards = []
    for key, label in (
        ("held_out_camera", "New camera"),
        ("held_out_light", "New light"),
        ("held_out_frame", "New expression"),
    ):
        if key in found:
            cards.append((label, f"{found[key]['psnr']:.1f} dB", f"SSIM {found[key]['ssim']:.3f}"))
    if "mask_iou" in found:
        cards.append(("Silhouette", f"{found['mask_iou']:.3f}", "mask IoU"))
    for name, label in (("one_image", "From one photo"), ("three_images", "From three photos")):
        if name in fits:
            novel = fits[name]["finetuned"]["novel_view"]
            cards.append((label, f"{novel['psnr']:.1f} dB", "novel views"))
    if material.avatar:
        found = material.avatar["input"]["finetuned"]
        cards.append(("The photos", f"{found['psnr']:.1f} dB", f"MAE {found['mae255']:.1f}/255"))
        cards.append(("Outline", f"{found['mask_iou']:.3f}", "mask IoU"))
        cards.append(("The fit took", f"{sum(material.avatar['seconds'].values()):.0f} s", "with its computer"))
    if "total" in material.timing:
        cards.append(("All of it took", f"{material.timing['total'] / 60:.1f} min", "with this computer"))
    return cards


def _title(material: Material) -> str:
    if material.is_demo:
        return "vrmm demo"
    if material.is_avatar:
        return f"vrmm avatar {display_name(material.folder)}"
    return f"vrmm run {material.folder.resolve().name}"


def _lead(material: Material) -> str:
    if material.is_avatar:
        return AVATAR_LEAD
    return DEMO_LEAD if material.is_demo else RUN_LEAD


def _footer(material: Material) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in material.versions.items())
    words = "A face is personal data: fit only people who agreed to it, and label what you publish as synthetic."
    if material.is_demo:
        words = f"A synthetic capture: nobody shown here exists. {words}"
    return html.paragraph(words) + (html.paragraph(f"Made with {versions}.") if versions else "")
