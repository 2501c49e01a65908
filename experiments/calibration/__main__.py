"""``python -m experiments.calibration``: run experiments, keep their records, render the page."""

import sys

from experiments.calibration import SUITE

sys.exit(SUITE.main())
