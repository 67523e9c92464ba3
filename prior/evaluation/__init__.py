"""Evaluation of a trained model against rendered truth: what is compared, with what, and how it looks."""
