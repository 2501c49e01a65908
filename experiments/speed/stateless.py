"""``python -m bench`` that keeps no ``last.pt``: what going on with killed trainings costs."""

from __future__ import annotations

import sys
from typing import Any


def main() -> int:
    """As ``python -m bench``; a killed training begins anew."""
    from bench.cli import main as bench
    from bench.train import engine
    from bench.train.keeper import Keeper

    class Forgetful(Keeper):
        def __init__(
            self, trained: Any, best: Any, about: Any, last: Any, recipe: Any, **how: Any
        ) -> None:
            super().__init__(trained, best, about, None, recipe, **how)

    engine.Keeper = Forgetful  # type: ignore[misc]
    return bench()


if __name__ == "__main__":
    sys.exit(main())
