"""``python -m experiments.faults``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import FAULTS

if __name__ == "__main__":
    sys.exit(FAULTS.main())
