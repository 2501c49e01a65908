"""The command lines of the how-to pages are carried out, on tiny models."""

from __future__ import annotations

import pytest

from tests.support.pages import carry_out_the_commands_of, here, tiny

__all__ = ["here", "tiny"]


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.usefixtures("tiny", "here")
@pytest.mark.filterwarnings("ignore")
def test_the_commands_of_the_how_to_are_carried_out(capsys: pytest.CaptureFixture) -> None:
    carry_out_the_commands_of("how-to.md", capsys)
