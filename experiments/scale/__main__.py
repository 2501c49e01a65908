"""``python -m experiments.scale``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import SCALE

if __name__ == "__main__":
    sys.exit(SCALE.main())
