"""``python -m experiments.scale``: run experiments, keep their records, render the page."""

import sys

from experiments.scale import SUITE

sys.exit(SUITE.main())
