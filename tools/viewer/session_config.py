"""What all clients of the viewer share."""

import dataclasses
from collections.abc import Sequence

from tools.viewer.state import ViewState


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """What all clients of a server share.

    Attributes:
        name: of what is looked at, for people.
        state: what a client sees first.
        finest: rows of the finest picture.
        threads: of the arithmetic.
        words: of the command line up to the options of a state, for example ``["vrmm", "view", "runs/prior"]``.
    """

    name: str
    state: ViewState
    finest: int
    threads: int
    words: Sequence[str]
