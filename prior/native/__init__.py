"""What the C++ kernels share: building them on first use, and memory for their large results."""

from prior.native.buffers import BufferPool
from prior.native.build import cache_folder, load_library

__all__ = ["BufferPool", "cache_folder", "load_library"]
