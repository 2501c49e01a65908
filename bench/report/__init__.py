"""Reports from run records alone: whoever reads a result needs no training stack."""

from bench.report.document import render
from bench.report.figures import run_plot

__all__ = ["render", "run_plot"]
