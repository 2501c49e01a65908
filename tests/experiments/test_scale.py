"""The experiments of scale run, and their rows say what was not met."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import pictures
from experiments.scale import ray, records, shards
from experiments.suites import SCALE as SUITE
from tests.experiments.stored import grey_pool, run_quick

MACHINE = {"cpu_model": "planted CPU", "cores": 2}


def record_of(outcome: object, **parameters: object) -> dict:
    return {"machine": MACHINE, "parameters": parameters, "outcome": outcome}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("shards", marks=pytest.mark.ci), "records"])
def test_a_quick_run_is_recorded_and_rendered(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "cached_synthetic", grey_pool)
    run_quick(SUITE, name, tmp_path)


@pytest.mark.parametrize(
    ("speed", "memory", "met"), [(90.1, 49.0, [True, True]), (89.9, 51.0, [False, False])]
)
def test_bars_of_shards(speed: float, memory: float, met: list[bool]) -> None:
    outcome = [
        {"what": "folder", "wall_s": 9, "images_per_s": [1, 100, 100], "memory_mb": [9, 9, 900]},
        {
            "what": "shards", "wall_s": 9, "images_per_s": [900, speed, speed],
            "memory_mb": [100, 120, 100 + memory],
        },
    ]  # fmt: skip
    parameters = {
        "images": 10, "pixels": [160, 120], "shards": 3, "variant": "V", "image_size": 32,
        "batch_size": 8, "epochs": 3,
    }  # fmt: skip
    record = record_of(outcome, **parameters)
    rows = shards.rows(record)
    assert [row.met for row in rows] == met
    assert rows[0].found.startswith(f"{speed / 100:.3f}")
    ((_, header, cells),) = shards.details(record)
    assert all(len(row) == len(header) for row in cells)


@pytest.mark.parametrize(
    ("plain", "with_ray", "met"),
    [(50.0, 69.9, True), (50.0, 70.1, False), (300.0, 329.9, True), (300.0, 330.1, False)],
)
def test_bars_of_ray(plain: float, with_ray: float, met: bool) -> None:
    outcome = [{"what": "plain", "wall_s": plain}, {"what": "ray", "wall_s": with_ray}]
    parameters = {"variants": "all", "images": 10, "image_size": 64, "epochs": 1}
    (row,) = ray.rows(record_of(outcome, **parameters))
    assert row.met is met


@pytest.mark.parametrize(("seconds", "peak", "met"), [(9.9, 999, True), (10.1, 1001, False)])
def test_bars_of_many_records(seconds: float, peak: float, met: bool) -> None:
    outcome = {"seconds": seconds, "peak_mb": peak, "records_mb": 200, "page_mb": 5}
    rows = records.rows(record_of(outcome, runs=10_000))
    assert [row.met for row in rows] == [met, met]
