"""``python -m experiments.scale``: run experiments, keep their records, render the page."""

import sys

from experiments.suites import SCALE

sys.exit(SCALE.main())
