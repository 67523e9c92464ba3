"""The thread that draws for one client: the newest wish at once and coarse, then finer while it stays."""

import dataclasses
import threading
import time
import traceback
from collections.abc import Callable

import torch

from datasets.errors import VrmmError
from tools.viewer.pace import Pace
from tools.viewer.picture import Painter, Picture
from tools.viewer.source import Source
from tools.viewer.state import ViewState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a client wants to see now.

    Attributes:
        source, state: of the picture.
        width, height: of the finest picture, pixels.
        seconds: until the next picture is wanted in any case, as in a playback; 0 for never.
    """

    source: Source
    state: ViewState
    width: int
    height: int
    seconds: float = 0.0


class Drawing(threading.Thread):
    """Draws until it is closed. Final.

    The first picture of a wish is always finished, so that a slider that never rests still shows something; finer
    ones are given up as soon as something else is wanted. Problems go to ``fail`` and end nothing.

    Args:
        wish: what is wanted now; called in this thread.
        show: takes a picture and whether it is the finest.
        fail: takes one line.
        threads: of the arithmetic.
    """

    def __init__(
        self,
        wish: Callable[[], Wish],
        show: Callable[[Wish, Picture, bool], None],
        fail: Callable[[str], None],
        threads: int,
    ) -> None:
        super().__init__(name="vrmm-drawing", daemon=True)
        self._wish, self._show, self._fail = wish, show, fail
        self._threads = threads
        self._wanted, self._closed = threading.Event(), threading.Event()
        self._pace = Pace()

    def poke(self) -> None:
        """Something has changed."""
        self._wanted.set()

    def close(self) -> None:
        """Stop after the band that is being drawn; nothing is shown any more. Does not wait."""
        self._closed.set()
        self._wanted.set()

    def run(self) -> None:
        torch.set_num_threads(self._threads)
        painter = None
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed.is_set():
                return
            try:
                wish = self._wish()
                if painter is None or painter.source is not wish.source:
                    painter = Painter(wish.source)
                self._draw(painter, wish)
            except VrmmError as error:
                self._report(str(error))
            except Exception:  # one client's trouble must not leave a dead picture
                traceback.print_exc()
                self._report("the picture could not be drawn; the terminal of vrmm view says why")

    def _report(self, message: str) -> None:
        if not self._closed.is_set():
            self._fail(message)

    def _draw(self, painter: Painter, wish: Wish) -> None:
        started = time.monotonic()
        sizes = self._pace.sizes(wish.width, wish.height)
        for number, (width, height) in enumerate(sizes[:1] if wish.seconds else sizes):
            picture = painter.paint(wish.state, width, height, self._overtaken if number else self._closed.is_set)
            if picture is None or self._closed.is_set():
                return
            self._pace.learn(picture.decode_seconds, picture.march_seconds, picture.rays)
            self._show(wish, picture, (width, height) == sizes[-1])
            if self._wanted.is_set():
                return
        if wish.seconds:
            self._wanted.wait(max(wish.seconds - (time.monotonic() - started), 0.0))
            self._wanted.set()

    def _overtaken(self) -> bool:
        return self._wanted.is_set() or self._closed.is_set()
