"""The four suites: their experiments in the order of their pages, and what heads these pages."""

from __future__ import annotations

from experiments.suite import Suite

CALIBRATION = Suite(
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

SPEED = Suite(
    "speed",
    (
        "training",
        "limit",
        "turns",
        "formats",
        "cold",
        "sweep",
        "pipeline",
        "probe",
        "startup",
        "memory",
        "accuracy",
        "progressive",
        "cost",
    ),
    """\
# Speed: ours against timm's training procedure, and against the limit of the step

All images are the project's own drawn (synthetic) JPEGs of 480×640 pixels. A ratio is speed by
speed (above 1: ours is faster) with its 95 % interval over rounds; in a race every round has fresh
processes of all contenders, which take turns epoch by epoch in an order drawn anew, so that a
drifting machine meets them alike. “Fixed batch” is the same
training step, over and over on one batch that lies in memory: what no input pipeline can pass.
“informs” marks figures without a bar. Each section says when, on which machine and by which command
its figures were made; the JSON file of the same name holds every sample. This file is rendered from
those files by `python -m experiments.speed --table`.
""",
    ("torch", "torchvision", "timm", "opencv-python-headless", "numpy", "pillow"),
    timed=True,
)

FAULTS = Suite(
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

SCALE = Suite(
    "scale",
    ("shards", "ray", "lost", "records"),
    """\
# Scale: data in tar files, sweeps on Ray, reports of ten thousand runs

Everything is run as the commands that users run, on one machine. Each section says when, on which
machine and by which command its figures were made; the JSON file of the same name holds every
sample. This file is rendered from those files by `python -m experiments.scale --table`.
""",
    ("torch", "timm", "ray"),
)
