"""Faults done to the harness on purpose, and what was lost: ``python -m experiments.faults``."""

from __future__ import annotations

from experiments.suite import Suite

SUITE = Suite(
    "faults",
    ("kills", "disk", "failures", "starvation", "hostile", "million"),
    """\
# Faults: what is done to the harness on purpose, and what is lost

Processes are really killed, disks really full, files really damaged; nothing is simulated but where
a section says so. Each section says when, on which machine and by which command its figures were
made; the JSON file of the same name holds every round. This file is rendered from those files by
`python -m experiments.faults --table`.
""",
    ("torch", "timm", "numpy", "pillow"),
)
