"""From the decoders' last feature maps to the voxels of all primitives: one operation, one meaning, two backends."""

from prior.assemble.api import assemble, available_backends

__all__ = ["assemble", "available_backends"]
