"""Launches of training, evaluation, fitting and sweeps with submitit, on Slurm or on this machine."""
