"""The harness measured as an instrument: planted truth in, rates of right and wrong out."""

from __future__ import annotations

from experiments.suite import Suite

SUITE = Suite(
    "calibration",
    (
        "simulated_sessions",
        "speed_families",
        "accuracy_intervals",
        "accuracy_verdicts",
        "variant_intervals",
        "counting",
        "sessions",
        "agreement",
        "repeatability",
    ),
    """\
# Calibration: the harness measured as an instrument

Experiments with planted truth: what the harness says is compared with what was put in. Rates have
their exact (Clopper-Pearson) 95 % interval beside them; “exact” marks rates that were summed over
all outcomes. “informs” marks figures without a bar. Each section below says when, on which machine
and by which command its figures were made; the JSON file of the same name holds the raw counts.
This file is rendered from those files by `python -m experiments.calibration --table`.
""",
    ("numpy", "scipy"),
)
