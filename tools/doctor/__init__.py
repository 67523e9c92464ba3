"""``vrmm doctor``: what this machine has, what it lacks, and how to mend it."""

from tools.doctor.command import doctor

__all__ = ["doctor"]
