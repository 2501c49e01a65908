"""Shows where a training is: a bar on a terminal, one plain line for each epoch elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from bench.system import console
from bench.system.digits import fixed

logger = logging.getLogger(__name__)


def progress_bar(**options: Any) -> tqdm[Any]:
    """Return a bar on the terminal that shows the log, hidden where there is none."""
    terminal = console.terminal()
    return tqdm(file=terminal, disable=terminal is None, **options)


class Progress:
    """Progress of one variant's training, in the log.

    Args:
        title: what stands before each line, such as the variant's name.
        epochs: epochs planned.
        expected_s: what this training was expected to take; 0: unknown.
        later_s: what the sweep is expected to take after it.
        on_epoch: called with each epoch's row.
    """

    def __init__(
        self,
        title: str,
        epochs: int,
        *,
        expected_s: float = 0.0,
        later_s: float = 0.0,
        on_epoch: Callable[[dict[str, float]], object] = lambda row: None,
    ) -> None:
        self.title = title
        self.epochs = epochs
        self.expected_s, self.later_s = expected_s, later_s
        self.started = time.perf_counter()
        self._on_epoch = on_epoch
        self._first: int | None = None
        self._best, self._begun = "", -1.0

    def batches(self, loader: Any, epoch: int, seen: int = 0) -> Iterator[Any]:
        """Yield the loader's batches, shown with images/s and time left.

        Args:
            loader: of the training part.
            epoch: its number, from 1.
            seen: images of the epoch that were trained on before the training was broken off.
        """
        if self._begun < 0:
            self._begun = epoch - 1 + seen / len(loader.dataset)
        with progress_bar(
            total=len(loader.dataset),
            initial=seen,
            desc=f"{self.title} {epoch}/{self.epochs}",
            unit="image",
            leave=False,
        ) as bar:
            for batch in loader:
                yield batch
                bar.update(getattr(batch, "whole", None) or len(batch[1]))
                if not bar.disable:
                    self._show(bar, epoch, len(loader.dataset))

    def _show(self, bar: Any, epoch: int, images: int) -> None:
        """Show the best so far and what is left of the variant and of the sweep."""
        left = self._time_left(epoch - 1 + bar.n / images, self._begun)
        bar.set_postfix_str(f"{self._best}{left}", refresh=False)

    def epoch_done(self, row: dict[str, float], best_epoch: int) -> None:
        """Print one line about an epoch that ended."""
        self._on_epoch(row)
        done = int(row["epoch"])
        # A training that goes on has done its first epochs elsewhere.
        self._first = done if self._first is None else self._first
        best = "best so far" if best_epoch == done else f"best {best_epoch}"
        if best_epoch == done:
            self._best = f"best F1 {row['valid_macro_f1']:.3f}, "
        logger.info(
            f"{self.title}  epoch {done}/{self.epochs}"
            f"  loss {fixed(row['train_loss'], 4)}/{fixed(row['valid_loss'], 4)}"
            f"  acc {row['train_acc']:.3f}/{row['valid_acc']:.3f}"
            f"  F1 {row['valid_macro_f1']:.3f} ({best})"
            f"  {fixed(row['images_per_s'], 1)} images/s  {self._time_left(done, self._first - 1)}"
        )

    def _time_left(self, done: float, begun: float) -> str:
        """Return what is left after so many epochs; later runs miss their estimates as this one."""
        epoch_s = (time.perf_counter() - self.started) / (done - begun)
        left = epoch_s * (self.epochs - done)
        if not self.later_s or not self.expected_s:
            return f"{clock(left)} left"
        factor = epoch_s * self.epochs / self.expected_s
        return f"{clock(left)} left, sweep {clock(left + factor * self.later_s)}"


def clock(seconds: float) -> str:
    """Write ``75`` as ``1:15``, ``3700`` as ``1:01:40``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
