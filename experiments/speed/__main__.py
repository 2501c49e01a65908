"""``python -m experiments.speed``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import SPEED

sys.exit(SPEED.main())
