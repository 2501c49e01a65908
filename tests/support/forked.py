"""Commands in processes of their own that need not import PyTorch again.

They are forked from a server that has torch and timm imported and has never run an operation: after
one, the threads of OpenMP are gone in the children, which wait for them for ever. So the server is
a process of its own, and pytest's never forks.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from bench.system.launch import sleep_soon

ROOT = Path(__file__).resolve().parents[2]
PRELOAD = (
    "numpy", "pandas", "scipy.stats", "PIL.Image", "cv2", "torch", "torch.distributed",
    "torchvision.transforms.v2", "timm", "fvcore.nn", "matplotlib.figure",
)  # fmt: skip
# Of a machine that is busy with other things too.
PATIENCE_S = 300.0


@functools.cache
def server() -> ForkServerContext:
    """What forks them, started once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    before = dict(os.environ)
    # Read once, when PyTorch is imported there.
    sleep_soon()
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)
    return context


def _carry_out(
    words: Sequence[str], folder: str, env: dict[str, str], out: str, err: str, script: str | None
) -> None:
    os.setsid()
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path[:] = [str(ROOT), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bench", "variants")]:
        del sys.modules[name]
    sys.argv = [script or "bench", *words]
    try:
        if script is not None:
            import runpy

            runpy.run_path(str(ROOT / script), run_name="__main__")
            return
        from bench.cli.main import entry

        sys.exit(entry())
    finally:
        _keep_coverage()


def _keep_coverage() -> None:
    """What the server's own measuring has seen here: no exit handler runs in what it forks."""
    if "coverage" in sys.modules:
        current = sys.modules["coverage"].Coverage.current()
        if current is not None:
            current.stop()
            current.save()


class Command:
    """``python -m bench``, or a script of the root, in a process group of its own.

    Args:
        words: its arguments.
        folder: where; none: here.
        env: what is set beside this process' environment.
        script: file below the root that is run instead.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        script: str | None = None,
    ) -> None:
        self._texts = tempfile.TemporaryDirectory(prefix="paddy-bench-command-")
        self._out, self._err = (Path(self._texts.name) / name for name in ("out", "err"))
        for path in (self._out, self._err):
            path.touch()
        whole = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        texts = str(self._out), str(self._err)
        told = (list(words), str(folder or Path.cwd()), whole, *texts, script)
        self._process = server().Process(target=_carry_out, args=told)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left, whatever the test has come to."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()
        self._texts.cleanup()

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._out.read_text("utf8", errors="replace")

    @property
    def err(self) -> str:
        """What it has written to standard error so far."""
        return self._err.read_text("utf8", errors="replace")

    def poll(self) -> int | None:
        """Its exit code, negative for the signal that killed it; none while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To the process alone, not to its group."""
        os.kill(self.pid, number)

    def wait_for(self, what: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
        """The first true answer of ``what`` while the process runs."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, self.err
            assert self.poll() is None, self.err
            time.sleep(0.02)
        return found

    def end(self, seconds: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for its end: exit code, standard output, standard error."""
        self._process.join(seconds)
        code = self.poll()
        assert code is not None, f"still running after {seconds} s: {self.err}"
        return code, self.out, self.err


def bench(line: str, **how: Any) -> tuple[int, str, str]:
    """Run a command to its end: exit code, standard output, standard error."""
    with Command(line.split(), **how) as command:
        return command.end()
