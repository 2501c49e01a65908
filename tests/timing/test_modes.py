"""Modes of inference from the command line to the report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from bench.cli.main import main
from bench.timing import backends
from tests.support.fake_timing import FakeTimingProcess


def test_a_missing_package_is_said_before_anything_is_timed(
    here: Path,
    photos: Path,
    tiny_plugin: Path,
    played: type[FakeTimingProcess],
    monkeypatch,
    capsys,
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "onnxruntime" else name)
    for line in (
        f"time --variants Tiny --plugin {tiny_plugin} --data-dir {photos} --image-size 32 "
        "--modes eager,onnxruntime",
        f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} --image-size 32 "
        "--modes onnxruntime",
    ):
        assert main(shlex.split(line)) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1] == (
            "error: --modes onnxruntime needs the package onnxruntime: "
            "pip install 'paddy-bench[onnx]'"
        )
    assert played.log == []
    assert list(here.iterdir()) == []


def test_without_timing_no_package_is_needed(
    here: Path, photos: Path, tiny_plugin: Path, monkeypatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    line = (
        f"check --variants Tiny --plugin {tiny_plugin} --data-dir {photos} --image-size 32 "
        "--batch-size 8 --modes openvino --no-timing"
    )
    assert main(shlex.split(line)) == 0


def test_modes_are_timed_recorded_and_shown(
    here: Path, tiny_plugin: Path, played: type[FakeTimingProcess], capsys
) -> None:
    played.broken_modes["Tiny_CA", "compiled"] = "no compiler here"
    line = (
        f"time --variants Tiny,Tiny_CA --plugin {tiny_plugin} --image-size 32 --clocks model "
        "--modes contiguous,compiled --rounds 6"
    )
    assert main(shlex.split(line)) == 0
    out = capsys.readouterr().out
    assert "How a model is run: CPU, 32 pixels" in out
    assert "n/a (no compiler here)" in out
    found = [json.loads(path.read_text()) for path in here.glob("results/*/run.json")]
    timing = {record["variant"]["name"]: record["timing"] for record in found}
    failed = [entry for entry in timing["Tiny_CA"] if entry.get("mode_error")]
    assert [(entry["mode"], entry["regime"]) for entry in failed] == [
        ("compiled", "latency"), ("compiled", "throughput"),
    ]  # fmt: skip
    assert {entry["mode"] for entry in timing["Tiny"]} == {"eager", "contiguous", "compiled"}
    assert main(["report"]) == 0
    (report,) = here.glob("reports/*/report.md")
    assert "no compiler here" in report.read_text()
