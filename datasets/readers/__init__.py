"""Captures of others as they are on disk: one file a format, found by name in ``datasets.readers.registry``."""
