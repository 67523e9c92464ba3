"""``vrmm export``: avatars for other programs, and how much of them arrives there."""

from tools.export.command import export

__all__ = ["export"]
