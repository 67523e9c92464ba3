"""A bounded memory of decoded arrays."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """The arrays used last, up to a number of bytes; safe for threads. Final.

    Two threads that miss the same key at once both make it, which costs time and changes nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._used = 0
        self._entries: OrderedDict[Hashable, tuple[np.ndarray, ...]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Held now."""
        return self._used

    def holds(self, key: Hashable) -> bool:
        """The arrays of ``key`` are held now."""
        with self._lock:
            return key in self._entries

    def get(self, key: Hashable, make: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """The arrays of ``key``, made by ``make`` if they are not held. They must not be changed."""
        with self._lock:
            held = self._entries.get(key)
            if held is not None:
                self._entries.move_to_end(key)
                return held
        made = make()
        size = _size(made)
        if size > self._max:
            return made
        with self._lock:
            if key not in self._entries:
                self._entries[key] = made
                self._used += size
            while self._used > self._max:
                self._used -= _size(self._entries.popitem(last=False)[1])
        return made


def _size(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in arrays)
