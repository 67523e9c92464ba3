"""The newest weights of what is looked at."""

import threading
from collections.abc import Callable

from datasets.errors import VrmmError
from tools.viewer.source import Source, open_source

SECONDS = 2.0
"""Between two looks at the folder."""


class Current:
    """The source that is shown now, and who wants to know of another. Final, safe for threads."""

    def __init__(self, source: Source) -> None:
        self._lock = threading.Lock()
        self._source = source
        self._listeners: list[Callable[[], None]] = []

    @property
    def source(self) -> Source:
        with self._lock:
            return self._source

    def replace(self, source: Source) -> None:
        """Show another one and tell everyone."""
        with self._lock:
            self._source = source
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners = [other for other in self._listeners if other != listener]


class Watch(threading.Thread):
    """Opens the source again whenever other weights lie in its folder. Final.

    A folder that cannot be read is left for the next look: a training replaces its files one after another.

    Args:
        current: is kept up to date.
        stamp: of the weights that it shows, taken before they were read.
        seconds: between two looks.
    """

    def __init__(self, current: Current, stamp: tuple[tuple[int, int, int], ...], seconds: float = SECONDS) -> None:
        super().__init__(name="vrmm-watch", daemon=True)
        self._current, self._seen, self._seconds = current, stamp, seconds
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def run(self) -> None:
        while not self._closed.wait(self._seconds):
            self.look()

    def look(self) -> bool:
        """Whether there were other weights; they are shown then."""
        config = self._current.source.config
        stamp = config.stamp()
        if not stamp or stamp == self._seen:
            return False
        try:
            source = open_source(config)
        except VrmmError:
            return False
        if config.stamp() != stamp:  # replaced while it was read: the next look reads it whole
            return False
        self._seen = stamp
        self._current.replace(source)
        return True
