"""Marching rays through volumetric primitives: one operation, one meaning, several backends."""

from prior.raymarch.api import available_backends, raymarch
from prior.raymarch.transport import transport

__all__ = ["available_backends", "raymarch", "transport"]
