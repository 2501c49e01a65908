"""Reports from run records alone: whoever reads a result needs no training stack."""

from bench.report.document import render

__all__ = ["render"]
