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
        expected_s: what this training was expected to take; 0: nobody knows.
        later_s: what the sweep is expected to take after it.
        on_epoch: told of each epoch's row too.
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
        """The loader's batches, shown with images/s and time left.

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
        """Best so far, and what is left of the variant and of the sweep, behind the bar."""
        at = epoch - 1 + bar.n / images
        epoch_s = (time.perf_counter() - self.started) / (at - self._begun)
        left = epoch_s * (self.epochs - at)
        text = f"{self._best}{clock(left)} left{self._of_sweep(left, epoch_s)}"
        bar.set_postfix_str(text, refresh=False)

    def epoch_done(self, row: dict[str, float], best_epoch: int) -> None:
        """One line about an epoch that ended."""
        self._on_epoch(row)
        done = int(row["epoch"])
        # A training that goes on has done its first epochs elsewhere.
        self._first = done if self._first is None else self._first
        epoch_s = (time.perf_counter() - self.started) / (done - self._first + 1)
        left = epoch_s * (self.epochs - done)
        best = "best so far" if best_epoch == done else f"best {best_epoch}"
        if best_epoch == done:
            self._best = f"best F1 {row['valid_macro_f1']:.3f}, "
        time_left = f"{clock(left)} left{self._of_sweep(left, epoch_s)}"
        logger.info(
            f"{self.title}  epoch {done}/{self.epochs}"
            f"  loss {fixed(row['train_loss'], 4)}/{fixed(row['valid_loss'], 4)}"
            f"  acc {row['train_acc']:.3f}/{row['valid_acc']:.3f}"
            f"  F1 {row['valid_macro_f1']:.3f} ({best})"
            f"  {fixed(row['images_per_s'], 1)} images/s  {time_left}"
        )

    def _of_sweep(self, left: float, epoch_s: float) -> str:
        """Time left of the sweep, where its later runs are off their estimates as this one is."""
        if not self.later_s or not self.expected_s:
            return ""
        factor = epoch_s * self.epochs / self.expected_s
        return f", sweep {clock(left + factor * self.later_s)}"


def clock(seconds: float) -> str:
    """``75`` → ``1:15``; ``3700`` → ``1:01:40``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
