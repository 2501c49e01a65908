"""Trainings of a sweep that others carry out: Ray, or SLURM by submitit, which schedule them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runner.executor import Executor


def executor_of(name: str) -> Executor:
    """Return the executor of that name in ``--executor``; imports only what it needs."""
    if name == "local":
        from bench.runner.executor import LocalExecutor

        return LocalExecutor()
    if name == "ray":
        from bench.executors.ray import RayExecutor

        return RayExecutor()
    from bench.executors.slurm import SlurmExecutor

    return SlurmExecutor()
