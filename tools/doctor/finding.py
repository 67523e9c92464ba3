"""What a check of the doctor finds."""

import dataclasses
import enum


class Status(enum.Enum):
    """``WARNING`` works with less, ``PROBLEM`` does not work."""

    OK = "green"
    WARNING = "yellow"
    PROBLEM = "red"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: what was checked.
        status: how it is.
        detail: what was found, in a few words.
        remedy: how to mend it, or how to get what is optional, one line; empty where there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
