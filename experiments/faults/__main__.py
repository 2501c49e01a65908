"""``python -m experiments.faults``: run experiments, keep their records, render the page."""

import sys

from experiments.faults import SUITE

sys.exit(SUITE.main())
