"""The speed experiments and the page that their records are rendered as."""

from __future__ import annotations

from experiments.suite import Suite

EXPERIMENTS = (
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
)
INTRODUCTION = """\
# Speed: ours against timm's training procedure, and against the limit of the step

All images are the project's own drawn (synthetic) JPEGs of 480×640 pixels. A ratio is speed by
speed (above 1: ours is faster) with its 95 % interval over rounds; in a race every round has fresh
processes of all contenders, which take turns epoch by epoch in an order drawn anew, so that a
drifting machine meets them alike. “Fixed batch” is the same
training step, over and over on one batch that lies in memory: what no input pipeline can pass.
“informs” marks figures without a bar. Each section says when, on which machine and by which command
its figures were made; the JSON file of the same name holds every sample. This file is rendered from
those files by `python -m experiments.speed --table`.
"""
SUITE = Suite("speed", EXPERIMENTS, INTRODUCTION)
