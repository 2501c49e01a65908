"""Lines of the log on a terminal, in a pipe and beside progress bars."""

import io
import logging
import sys

import pytest

from bench.system.console import LOGGER, ConsoleHandler, log_to, terminal
from bench.system.progress import progress_bar

logger = logging.getLogger("bench.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_the_message_alone_and_a_warning_says_so() -> None:
    stream = io.StringIO()
    with log_to(ConsoleHandler(stream)):
        logger.info("100 % done")
        logger.warning("a disk is full")
        logger.error("failed: Tiny")
    assert stream.getvalue() == "100 % done\nwarning: a disk is full\nfailed: Tiny\n"


def test_lines_go_where_standard_error_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    with log_to(ConsoleHandler()):
        monkeypatch.setattr(sys, "stderr", first)
        logger.info("one")
        monkeypatch.setattr(sys, "stderr", second)
        logger.info("two")
    assert (first.getvalue(), second.getvalue()) == ("one\n", "two\n")


def test_what_was_configured_before_is_there_again(caplog: pytest.LogCaptureFixture) -> None:
    before = list(LOGGER.handlers), LOGGER.level, LOGGER.propagate
    with log_to(logging.NullHandler()):
        logger.warning("to nobody")
    assert (LOGGER.handlers, LOGGER.level, LOGGER.propagate) == before
    assert caplog.messages == []


def test_an_error_of_the_stream_is_raised() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(ValueError, match="closed file"), log_to(ConsoleHandler(stream)):
        logger.info("lost")


def test_a_line_stands_above_the_bar_of_a_terminal() -> None:
    stream = Terminal()
    with log_to(ConsoleHandler(stream)), progress_bar(total=2, desc="decoding") as bar:
        logger.info("between")
        assert not bar.disable
    assert "\rbetween\n" in stream.getvalue().replace("\r \r", "\r").replace(" ", "")


@pytest.mark.parametrize(
    "handler",
    [ConsoleHandler(io.StringIO()), ConsoleHandler(Terminal(), bars=False), logging.NullHandler()],
)
def test_no_bar_where_there_is_no_terminal_or_others_write_to_it(handler: logging.Handler) -> None:
    with log_to(handler), progress_bar(total=2) as bar:
        assert terminal() is None
        assert bar.disable
