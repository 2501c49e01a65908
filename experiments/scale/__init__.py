"""What holds past one machine, as far as one machine can show it."""

from __future__ import annotations

from experiments.suite import Suite

SUITE = Suite(
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
