"""Readers of videos of one person, each against a tiny capture laid out as the original."""
