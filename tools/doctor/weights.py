"""Files with weights that people bring: tried by the code that will load them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tools.doctor.finding import Finding, Status
from tools.doctor.trial import answer

NONE_NAMED = (
    "--weights PATH tries VGG-19 (losses.vgg_weights), LPIPS (--lpips-weights), face_landmarker.task (--landmarker), "
    "a head model (--head-model), a run or an avatar"
)


def check_weights(paths: Sequence[Path]) -> list[Finding]:
    """One finding for each file or folder; without any, that none is needed."""
    if not paths:
        detail = "none named, and none needed: nothing is downloaded"
        return [Finding(name="Weights files", status=Status.OK, detail=detail, remedy=NONE_NAMED)]
    return [_try(path) for path in paths]


def _try(path: Path) -> Finding:
    name = f"Weights {path.name}"
    detail, worked = answer([sys.executable, "-m", "tools.doctor.recognise", str(path.absolute())])
    if worked:
        return Finding(name=name, status=Status.OK, detail=detail)
    detail = detail.rpartition("VrmmError: ")[2]
    return Finding(
        name=name,
        status=Status.PROBLEM,
        detail=detail,
        remedy="download or copy it again; docs/training.md says where such files come from",
    )
