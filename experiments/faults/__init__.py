"""Faults done to the harness on purpose, and what was lost: ``python -m experiments.faults``."""
