"""Large results in memory that is used again, because fresh pages cost more than the work that fills them."""

import math
import threading
import weakref

import numpy as np
import torch
from torch import Tensor

_LINE = 16
"""Floats in a cache line."""


class BufferPool:
    """Hands out float32 tensors of undefined content; their memory comes back once nothing refers to it.

    Args:
        kept: how many returned buffers are held; the oldest are given back to the system.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._free: list[np.ndarray] = []
        self._lock = threading.Lock()

    def tensor(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised float32 tensor [shape]."""
        size = math.prod(shape)
        buffer = self._take(size)
        # The tensor's storage owns this view; when the last user lets go, the view dies and the buffer returns.
        lease = buffer[:size].reshape(shape)
        weakref.finalize(lease, self._give_back, buffer).atexit = False
        return torch.from_numpy(lease)

    def _take(self, size: int) -> np.ndarray:
        with self._lock:
            for index, buffer in enumerate(self._free):
                if size <= len(buffer) <= 2 * size:
                    return self._free.pop(index)
        return _aligned(size)

    def _give_back(self, buffer: np.ndarray) -> None:
        with self._lock:
            self._free = [*self._free, buffer][-self._kept :]


def _aligned(size: int) -> np.ndarray:
    """``size`` floats that begin on a cache line, so that rows of voxels do not share one."""
    memory = np.empty(size + _LINE, dtype=np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[start : start + size]
