"""``python -m experiments.speed``: run experiments, keep their records, render the page."""

from __future__ import annotations

import sys

from experiments.speed.table import SUITE

if __name__ == "__main__":
    sys.exit(SUITE.main())
