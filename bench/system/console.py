"""Show the records of the loggers below ``bench``: plain lines on standard error, or elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

LOGGER = logging.getLogger("bench")


class PlainFormatter(logging.Formatter):
    """The message alone; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno == logging.WARNING else text


class ConsoleHandler(logging.Handler):
    """Write lines above the progress bars of a stream. As with ``print``, its errors are raised.

    Args:
        stream: where lines go; none: what ``sys.stderr`` is at each of them.
        bars: whether a terminal shows progress bars too.
    """

    def __init__(self, stream: TextIO | None = None, *, bars: bool = True) -> None:
        super().__init__()
        self._stream, self.bars = stream, bars
        self.setFormatter(PlainFormatter())

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return self._stream or sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # slow to import for commands that log nothing

        tqdm.write(self.format(record), file=self.stream)
        self.stream.flush()


@contextlib.contextmanager
def log_to(handler: logging.Handler) -> Iterator[None]:
    """Send the records of ``bench`` to a handler, and nowhere else, while the block runs."""
    before = LOGGER.handlers, LOGGER.level, LOGGER.propagate
    LOGGER.handlers, LOGGER.propagate = [handler], False
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.handlers, level, LOGGER.propagate = before
        LOGGER.setLevel(level)


def terminal() -> TextIO | None:
    """Return the terminal on which progress bars may stand among the lines, or none."""
    for handler in LOGGER.handlers:
        if isinstance(handler, ConsoleHandler) and handler.bars and handler.stream.isatty():
            return handler.stream
    return None
