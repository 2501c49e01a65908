"""``python -m experiments.calibration``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import CALIBRATION

if __name__ == "__main__":
    sys.exit(CALIBRATION.main())
