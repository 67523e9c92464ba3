"""What ``vrmm export`` says, and what it checks before work begins."""

import tempfile
from pathlib import Path
from typing import Any

from datasets.errors import VrmmError
from tools.export.build import Exported


def check_target(out: Path) -> None:
    """Raises VrmmError where ``out`` is a folder, or nothing can be written beside it."""
    if out.is_dir():
        raise VrmmError(f"{out} is a folder; name a file with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise VrmmError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error


def describe(exported: Exported, report: dict[str, Any]) -> list[str]:
    """Lines for the terminal; the last one is the PSNR of the round trip.

    ``report`` is the avatar's fit.json.
    """
    lost, photos = exported.lost, report["input"]["finetuned"]["psnr"]
    sizes = ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in exported.files)
    return [
        f"{sizes}: {exported.content}",
        f"read again and compared with the avatar in {lost.views} views it was not fitted to, {lost.size}² each: "
        f"inside the head {lost.inside:.1f} dB, worst view {lost.worst:.1f} dB",
        f"the avatar is {photos:.1f} dB from its photos; with the error of the export on top about "
        f"{photos - lost.loss(photos):.1f} dB, {lost.loss(photos):.2f} less",
        f"round-trip PSNR {lost.psnr:.2f} dB",
    ]
