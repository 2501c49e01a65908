"""What a worker does with a task, in this process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config.presets import resolve
from bench.errors import BenchError
from bench.executors import task
from bench.runner.context import ProcessContext, RunSpec, SweepContext
from bench.system.signals import StopRequest


@pytest.mark.parametrize(
    ("name", "there"), [("pillow", "1.0"), ("image loader", "1"), ("image loader", None)]
)
def test_a_worker_that_makes_other_pixels_is_refused(name: str, there: str | None) -> None:
    expected = {**task.versions(), name: there}
    if there is None:
        del expected[name]  # of a sender from before it was told
    with pytest.raises(BenchError, match=rf"{name} \S+ \({there or 'unknown'}\)"):
        task.check_versions(expected, "node-7")


def test_a_worker_without_the_shared_folder_keeps_the_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that goes on brings its own number, and those after it that of the sweep."""
    there: Any = SimpleNamespace(positions=list, index=None)
    sweep = SweepContext(
        id="s1",
        command="",
        resolved=resolve({}, environ={}),
        device=torch.device("cpu"),
        accumulation_parts=4,
    )
    run: Any = SimpleNamespace(parts=there, seed=0, fold=None)
    spec = RunSpec(sweep=sweep, run=run, key="ResNet18", epoch_s=1.0, expected_s=1.0)
    found: list[ProcessContext] = []

    def spy(planned: list[Any], process: ProcessContext, **_: Any) -> list[Any]:
        found.append(process)
        return []

    monkeypatch.setattr(task, "decode_images", lambda *_, **__: None)
    monkeypatch.setattr(task, "train_in_turn", spy)
    given: Any = SimpleNamespace(sweep=sweep, name="t", runs=(spec,), features_limit=0.0)
    task._train(given, tmp_path, torch.device("cpu"), tmp_path, StopRequest(), None)
    accumulation = found[0].accumulation
    accumulation.parts = 1
    accumulation.look()
    assert accumulation.parts == 4
