"""Personalization: inversion, prior-preserving fine-tuning and the avatar bundle."""
