"""Reports without their figures, which take most of the time that rendering takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest

from bench.report.render import pictured


@contextmanager
def no_figures() -> Iterator[None]:
    """Reports name their figures, with captions, and draw none of them."""
    figures = pictured._figures

    def undrawn(*args):
        return [attrs.evolve(figure, draw=lambda path: path) for figure in figures(*args)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictured, "_figures", undrawn)
        yield
