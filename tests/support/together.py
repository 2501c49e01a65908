"""Processes that come together as torchrun's do, without torchrun and its imports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from torch.distributed import TCPStore

from tests.support.forked import Command


class Together:
    """What several commands do as one.

    Args:
        commands: by rank.
    """

    def __init__(self, commands: list[Command]) -> None:
        self.commands = commands

    @property
    def err(self) -> str:
        """What they have written to standard error so far."""
        return "".join(one.err for one in self.commands)

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """The first true answer of ``what`` while all run."""
        return self.commands[0].wait_for(lambda: self._all_run() and what())

    def _all_run(self) -> bool:
        assert {one.poll() for one in self.commands} == {None}, self.err
        return True

    def send_signal(self, number: int) -> None:
        """As torchrun passes it on."""
        for one in self.commands:
            one.send_signal(number)

    def end(self) -> tuple[list[int], str, str]:
        """Wait for the end of all: exit codes by rank, what they have printed, their errors."""
        ended = [one.end() for one in self.commands]
        return (
            [code for code, _, _ in ended],
            "".join(out for _, out, _ in ended),
            "".join(err for _, _, err in ended),
        )


@contextlib.contextmanager
def together(line: str, processes: int = 2, script: str | None = None) -> Iterator[Together]:
    """Start a command in several processes; none is left when the block ends."""
    # As torchrun has it: what the processes tell each other outlives any of them.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    same = {
        "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    with ExitStack() as stack:
        commands = [
            Command(
                line.split(),
                env={**same, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                script=script,
            )
            for rank in range(processes)
        ]
        for one in commands:
            stack.enter_context(one)
        yield Together(commands)
