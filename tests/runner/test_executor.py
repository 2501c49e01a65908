"""Which runs go to one device together."""

from __future__ import annotations

import itertools
from typing import Any

from bench.runner.context import RunSpec
from bench.runner.executor import make_jobs


def plan(seeds: int) -> list[RunSpec]:
    sweep: Any = None
    runs: list[Any] = [object() for _ in range(seeds)]
    keys = ("EfficientNetV2_S", "ResNet18", "EfficientNetV2_S_CA")  # the first and last share one
    return [
        RunSpec(sweep=sweep, run=run, key=key, expected_s=1.0 + number)
        for number, (run, key) in enumerate(itertools.product(runs, keys))
    ]


def test_trained_backbones_are_jobs_of_their_own() -> None:
    jobs = make_jobs(plan(2), frozen=False)
    assert [job.numbers for job in jobs] == [(0,), (1,), (2,), (3,), (4,), (5,)]
    assert [job.seconds for job in jobs] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_frozen_backbones_of_one_kind_and_seed_are_one_job() -> None:
    planned = plan(2)
    jobs = make_jobs(planned, frozen=True)
    assert [job.numbers for job in jobs] == [(0, 2), (1,), (3, 5), (4,)]
    assert [job.seconds for job in jobs] == [4.0, 2.0, 10.0, 5.0]
    assert jobs[0].planned == (planned[0], planned[2])
