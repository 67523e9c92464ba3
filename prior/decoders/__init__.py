"""Decoders of eq. 5."""
