"""Which runs a variant's accuracy is taken from."""

from __future__ import annotations

from bench.report.analysis.run_sets import run_set
from bench.report.analysis.selection import Selection


def test_the_latest_sweep_that_has_an_accuracy_counts(make_record):
    sweeps = [{"id": name, "command": "", "preset": None} for name in ("old", "new", "timed")]
    old, new, timed = (
        make_record("ResNet18", sweep=sweep, minute=10 * number)
        for number, sweep in enumerate(sweeps)
    )
    timed |= {"validation": None, "test": None, "metrics": None, "training": None}
    for records in ([old, new, timed], [timed, new, old]):
        selection = Selection(records)
        assert list(run_set(selection, "ResNet18").runs.values()) == [new]
        assert list(run_set(selection, "ResNet18", "old").runs.values()) == [old]
