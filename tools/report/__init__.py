"""``vrmm report``: one self-contained page about a demo or a training run."""

from tools.report.command import report

__all__ = ["report"]
