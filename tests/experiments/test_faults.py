"""The fault experiments run, small, and their rows say what was lost."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.faults import common, disk, failures, hostile, kills, million, starvation
from experiments.suites import FAULTS as SUITE
from tests.experiments.stored import run_quick


def can_mount(folder: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True)
    if done.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("failures", marks=pytest.mark.ci),
        pytest.param("hostile", marks=pytest.mark.ci),
        "million",
    ],
)
def test_a_quick_experiment_meets_its_bars(tmp_path: Path, name: str, registry: None) -> None:
    _, code = run_quick(SUITE, name, tmp_path)
    assert code == 0


@pytest.mark.slow
@pytest.mark.ci
def test_full_disks_lose_nothing(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs the right to mount a file system (root)")
    _, code = run_quick(SUITE, "disk", tmp_path)
    assert code == 0


def test_every_experiment_is_a_module() -> None:
    for name in SUITE.experiments:
        module = SUITE.module_of(name)
        assert module.__name__ == f"experiments.faults.{name}"
        assert (module.__doc__ or "").strip()


# --- rows ------------------------------------------------------------------------------------


def met(module: Any, record: dict[str, Any]) -> list[bool | None]:
    return [row.met for row in module.rows(record)]


KILLS = {
    "parameters": {"command": "run"},
    "undisturbed_s": 60.0,
    "undisturbed_runs": 7,
    "outcome": [
        {
            "kills": [{"after_s": 9.0, "killed": True, "resumed": False, "last_line": "x"}],
            "codes": [0],
            "runs": 7,
            "records": 7,
            "same": True,
            "left_over": [],
        }
    ],
}


def test_a_killed_sweep_must_end_as_the_undisturbed_one() -> None:
    assert met(kills, KILLS) == [True, True, None]
    for key, value in (("same", False), ("records", 8), ("runs", 6)):
        wrong = copy.deepcopy(KILLS)
        wrong["outcome"][0][key] = value
        assert False in met(kills, wrong), key
    ((_, _, cells),) = kills.details(KILLS)
    assert cells == [["1", "9.0", "yes", "no", "x"]]


DISK = {
    "parameters": {"command": "run"},
    "most_bytes": 9_000_000,
    "outcome": [
        {
            "bytes": 4096, "code": 1, "said": "No space left", "traceback": False,
            "complete_before": 2, "lost": [], "resumed": True, "code_then": 0, "same": True,
        }
    ],
}  # fmt: skip


def test_a_full_disk_must_lose_nothing_and_be_told_of() -> None:
    assert met(disk, DISK) == [True, True, True]
    for place, key, value in (
        (0, "lost", ["ResNet18"]),
        (0, "complete_before", 0),
        (1, "traceback", True),
        (1, "said", ""),
        (1, "code", 0),
        (2, "same", False),
        (2, "code_then", 1),
    ):
        wrong = copy.deepcopy(DISK)
        wrong["outcome"][0][key] = value
        assert [n for n, one in enumerate(met(disk, wrong)) if not one] == [place], key


def failed(text: str) -> dict[str, Any]:
    return {
        "status": "failed", "message": text, "accuracy": None, "parts": None, "in_report": True,
    }  # fmt: skip


FAILURES = {
    "parameters": {"variants": "all", "options": "--epochs 1"},
    "code": 1,
    "last_line": "failed: Planted_Raises, Planted_Memory, Planted_Diverges: see there",
    "traceback": False,
    "report_code": 0,
    "runs": {
        "Good": {
            "status": "complete", "message": None, "accuracy": 0.5, "parts": 1, "in_report": True,
        },
        **{name: failed(text) for name, text in failures.FAULTS.items()},
    },
    "explained_in_report": list(failures.FAULTS),
}  # fmt: skip


def test_faulty_variants_must_be_explained_and_cost_no_other() -> None:
    assert met(failures, FAILURES) == [True, True, True]
    wrong = copy.deepcopy(FAILURES)
    wrong["runs"]["Good"]["status"] = "failed"
    wrong["runs"]["Planted_Memory"]["message"] = "boom"
    wrong["code"] = 0
    assert met(failures, wrong) == [False, False, False]
    assert len(failures.details(FAILURES)[0][2]) == 4


def test_every_starvation_must_be_told_and_gone_on_from() -> None:
    one = {"happened": True, "told": True, "went_on": True, "traceback": False, "code": 1,
           "said": "x"}  # fmt: skip
    record = {"parameters": {"options": ""}, "images": 9, "outcome": {"A worker dies": one}}
    assert met(starvation, record) == [True]
    for key in ("happened", "told", "went_on"):
        wrong = {**record, "outcome": {"A worker dies": {**one, key: False}}}
        assert met(starvation, wrong) == [False]


def test_a_million_must_be_quick_and_comparing_must_not_be_quadratic() -> None:
    one = {"layout": "kaggle", "images": 1_000_000, "index_s": 9.0, "peak_bytes": 1e9,
           "split_s": 1.0, "grouped_s": 2.0, "folds_s": 3.0}  # fmt: skip
    compared = [
        {"hashes": n, "seconds": s, "planted": 5, "planted_found": 5, "pairs": 6, "peak_bytes": 1e8}
        for n, s in ((250_000, 4.0), (1_000_000, 20.0))
    ]
    record = {"outcome": [one], "compared": compared}
    assert met(million, record) == [True, True]
    assert met(million, {**record, "outcome": [{**one, "index_s": 31.0}]})[0] is False
    assert met(million, {**record, "outcome": [{**one, "peak_bytes": 1.6e9}]})[0] is False
    compared[1]["seconds"] = 64.0
    assert met(million, record)[1] is False


STEP = {"code": 0, "seconds": 0.1, "traceback": False, "last_line": ""}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"steps": {"run": {**STEP, "traceback": True}}}, False),
        ({"steps": {"run": {**STEP, "code": "hangs"}}}, False),
        ({"steps": {"run": {**STEP, "seconds": 6.0}}}, False),
        ({"outside": ["x"]}, False),
        ({"broken": ["table row"]}, False),
        ({"reports": -1}, False),
        ({"made": False, "broken": ["table row"]}, None),
    ],
)
def test_hostile_input_must_break_nothing(change: dict[str, Any], fits: bool | None) -> None:
    good = {"made": True, "steps": {"run": STEP}, "outside": [], "broken": [], "kind": "x"}
    good["reports"] = 1
    each = [good, {**good, **change}]
    record = {"parameters": {"limit_s": 5.0}, "outcome": {"files": each}}
    found = met(hostile, record)
    assert found == ([fits] if fits is not None else [True, None])


def test_broken_reports_are_seen(tmp_path: Path) -> None:
    assert hostile._uneven("| a | b |\n|---|---|\n| 1 | 2 |") == []
    assert hostile._uneven("| a | b |\n|---|---|\n| 1 \\| 2 | 3 |") == []
    assert hostile._uneven("```\n| a |\n| a | b |\n```") == []
    assert hostile._uneven("````\n```\n| a |\n| a | b |\n````") == []
    assert len(hostile._uneven("| a | b |\n|---|---|\n| 1 | 2 | 3 |")) == 1
    folder = tmp_path / "reports" / "x" / "tables"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("name,value\n=1+1,2\n")
    (folder / "b.csv").write_text("name,value\na,-2.5\nb\n")
    (folder.parent / "report.md").write_text("<script>alert(1)</script>")
    assert len(hostile._broken(tmp_path)) == 3


def test_what_lies_about_is_seen(tmp_path: Path) -> None:
    run = tmp_path / "results" / "ResNet18_1"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (tmp_path / "results" / "sweep-1.json").write_text('{"ended": null}')
    assert common.left_over(tmp_path) == []
    assert common.unfinished(tmp_path)
    (run / "last.pt").touch()
    (tmp_path / "results" / ".sweep-1.lock").touch()
    (tmp_path / "results" / ".new-x").mkdir()
    assert common.left_over(tmp_path) == [".new-x", ".sweep-1.lock", "ResNet18_1/last.pt"]
    assert common.complete_records(tmp_path) == {}
