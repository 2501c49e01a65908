"""``python -m experiments.faults``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import FAULTS

sys.exit(FAULTS.main())
