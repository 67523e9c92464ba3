"""``vrmm demo``: the main job from capture to report in one folder."""

from tools.demo.command import demo

__all__ = ["demo"]
