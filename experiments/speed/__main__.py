"""``python -m experiments.speed``: run experiments, keep their records, render the page."""

import sys

from experiments.speed import SUITE

sys.exit(SUITE.main())
