"""Memory of batches that is used again once nobody holds the batch: fresh pages cost as much as decoding a picture."""

import weakref
from collections import deque

import numpy as np


class ArrayPool:
    """Arrays that come back by themselves when the last reference to them is gone. Final; safe for threads.

    A tensor made with ``torch.from_numpy``, and every view of it, is such a reference. So there are never more arrays
    than were in use at once.
    """

    def __init__(self) -> None:
        self._unused: dict[tuple[int, ...], deque[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array of that shape with any content."""
        unused = self._unused.setdefault(shape, deque())
        try:
            memory = unused.pop()
        except IndexError:
            memory = np.empty(shape, np.float32)
        handle = memory.view()  # what is handed out; the pool keeps what it shows
        weakref.finalize(handle, unused.append, memory).atexit = False
        return handle
