"""What the leader of a team tells the others to do along with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

import variants
from bench.runner.context import Sweep


@attrs.frozen
class Along:
    """A run to train along.

    Attributes:
        sweep: without what belongs to the leader's process.
        variant: key of what is trained.
        before: what was chosen when the training began that now goes on; none: it begins.
    """

    sweep: Sweep
    variant: str
    before: Mapping[str, Any] | None

    @classmethod
    def of(cls, sweep: Sweep, variant: variants.Variant, before: Mapping[str, Any] | None) -> Along:
        """As it can be told to another process, on another machine too."""
        return cls(sweep.plain(), variant.key, before)


@attrs.frozen
class Ended:
    """There is nothing more to train along.

    Attributes:
        code: the leader's exit code.
    """

    code: int
