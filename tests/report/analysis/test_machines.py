"""Tests of what tells machines, data and image sizes apart."""

from __future__ import annotations

from bench.report.analysis import machines
from bench.report.analysis.machines import labels, load_marks, machine_lines, machine_of


def test_runs_that_are_alike_need_no_column(make_record):
    found = labels([make_record(), make_record("ResNet18", seed=1)])
    assert found.headings() == []
    assert found.cells(make_record()) == []
    assert found.legend == ""
    assert found.of("Machine", make_record()) is None


def test_two_machines_with_the_same_cpu_are_two(make_record):
    one, two = make_record(), make_record()
    two["environment"]["machine"] = "ffff0000"
    found = labels([one, two, one])
    assert found.headings() == ["Machine"]
    assert (found.cells(one), found.cells(two)) == (["M1"], ["M2"])
    assert found.legend == (
        "M1: machine 1a2b3c4d (AMD EPYC 7B13); M2: machine ffff0000 (AMD EPYC 7B13)."
    )
    assert found.of("Machine", two) == "M2"
    assert found.of("Machine", make_record(environment={})) == "n/a"


def test_a_machine_that_is_not_recorded_is_unknown(make_record):
    assert machine_of(make_record(environment={})) is None
    assert machine_lines([make_record(environment={})]) == []


def test_synthetic_data_is_named_in_the_legend(make_record):
    other = make_record(synthetic=True)
    other["data"]["fingerprint"] = "beef"
    legend = labels([make_record(), other]).legend
    assert "D1: data 3f9a1c0de4b7 (10 classes, class-folders)" in legend
    assert "D2: data beef (SYNTHETIC, 10 classes, synthetic)" in legend


def test_a_machine_is_described_over_all_of_its_runs(make_record):
    one, two = make_record(), make_record("ResNet18")
    one["environment"] |= {"affinity": [0, 1, 2, 3], "load_before": 0.02, "load_after": None}
    two["environment"] |= {"affinity": [0, 1, 2, 3], "load_before": 0.30, "load_after": None}
    two["environment"]["memory_available_gb"] = 20.0
    two["environment"]["governor"] = "performance"
    ((name, text),) = machine_lines([one, two])
    assert name == "Machine"
    assert "affinity 0–3" in text
    assert "governor performance" in text
    assert "20.0–24.8 GB available at the start" in text
    assert "load by other programs 2–30 % before and not measured after the runs" in text


def test_load_above_a_tenth_is_marked(make_record):
    record = make_record()
    assert load_marks(record) == []
    record["environment"] |= {"load_before": None, "load_after": 0.31}
    assert load_marks(record) == ["other programs used 31 % of the machine after it"]


def test_one_core_and_one_thread_are_counted_in_words() -> None:
    assert machines._machine_text([{"cores": 1, "threads": 1}]).startswith("1 core, 1 thread, ")
