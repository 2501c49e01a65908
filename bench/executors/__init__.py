"""Trainings of a sweep that others carry out: Ray, or SLURM by submitit, which schedule them."""
