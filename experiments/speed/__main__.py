"""``python -m experiments.speed``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import SPEED

if __name__ == "__main__":
    sys.exit(SPEED.main())
