"""``python -m experiments.calibration``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import CALIBRATION

sys.exit(CALIBRATION.main())
