"""Train EfficientNetV2-S with Coordinate Attention: the guide's script, on the shared engine."""

import sys

from bench.cli.main import main_single

if __name__ == "__main__":
    sys.exit(main_single("EfficientNetV2_S_CA"))
