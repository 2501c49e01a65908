"""The harness raced against timm's training procedure and against the limit of the step itself."""

from __future__ import annotations

from experiments.suite import Suite

SUITE = Suite(
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
