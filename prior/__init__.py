"""VRMM: the volumetric relightable morphable head model, its renderer, losses, training and evaluation."""
