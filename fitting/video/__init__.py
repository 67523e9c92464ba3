"""A video of one person to an avatar and its animation: read, follow, fit all frames together, fine-tune."""
