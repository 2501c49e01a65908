"""``python -m experiments.scale``: run experiments, keep their records, render the page."""

from __future__ import annotations

import sys

from experiments.scale.table import SUITE

if __name__ == "__main__":
    sys.exit(SUITE.main())
