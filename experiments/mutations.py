"""Breaks the code on purpose, one place at a time, and says which breaks the tests let through.

``python -m experiments.mutations`` applies each entry of ``mutations.toml`` to a copy of the
working tree and runs the tests named beside it. The working tree itself is never changed.
"""

from __future__ import annotations

import argparse
import fnmatch
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from bench.system.launch import sleep_soon

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
OPTIONS = ("-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider")
# Importing these takes longer than most tests.
PRELOAD = (
    "pytest", "numpy", "pandas", "scipy.stats", "scipy.optimize", "sklearn.metrics",
    "sklearn.model_selection", "statsmodels.stats.multitest",
    "cv2", "torch", "torchvision.transforms.v2", "timm", "fvcore.nn", "matplotlib.figure",
)  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")
# A break may make a test wait for ever.
TIMEOUT_S = 600
CAUGHT, SURVIVED, STALE, FAILING = "caught", "survived", "stale", "fails without the break"


@attrs.frozen
class Break:
    """One wrong edit, and the tests that must fail on it.

    Attributes:
        name: unique.
        file: path below the root of the project.
        old: text that occurs exactly once in the file.
        new: what takes its place.
        tests: pytest's arguments: files and node ids.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = attrs.field(converter=tuple)

    def is_stale(self, tree: Path) -> bool:
        """Whether the old text is not in the file exactly once."""
        path = tree / self.file
        return not path.is_file() or path.read_text("utf8").count(self.old) != 1


def load(path: Path = LIST) -> list[Break]:
    """Read the list of breaks."""
    return [Break(**entry) for entry in tomllib.loads(path.read_text("utf8"))["break"]]


def select(breaks: Sequence[Break], patterns: Sequence[str]) -> list[Break]:
    """Breaks whose name or file matches one of the patterns; all without patterns."""
    return [
        one
        for one in breaks
        if any(fnmatch.fnmatch(text, pat) for text in (one.name, one.file) for pat in patterns)
        or not patterns
    ]


def run(
    breaks: Sequence[Break],
    tree: Path = ROOT,
    *,
    jobs: int = 1,
    preload: Sequence[str] = PRELOAD,
    on_result: Callable[[Break, str, float], object] = lambda one, outcome, seconds: None,
) -> list[str]:
    """Apply and test each break in a copy of the tree.

    Args:
        breaks: which.
        tree: root of a git checkout; what is not committed yet is copied too.
        jobs: copies that are tested at once.
        preload: modules that are imported once for all test runs.
        on_result: called with each break, its outcome and the seconds it took.

    Returns:
        The outcome of each break, in order.
    """
    CONTEXT.set_forkserver_preload(list(preload))
    sound: dict[tuple[str, ...], bool] = {}
    copies: queue.Queue[Path] = queue.Queue()

    def judge(one: Break) -> str:
        copy, begin = copies.get(), time.monotonic()
        try:
            outcome = STALE
            if not one.is_stale(copy):
                if one.tests not in sound:
                    sound[one.tests] = _passes(copy, one.tests)
                outcome = _judge(one, copy) if sound[one.tests] else FAILING
        finally:
            copies.put(copy)
        on_result(one, outcome, time.monotonic() - begin)
        return outcome

    with tempfile.TemporaryDirectory(prefix="paddy-bench-mutations-") as folder:
        for number in range(jobs):
            copies.put(copy_tree(tree, Path(folder, str(number))))
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(judge, breaks))


def copy_tree(tree: Path, target: Path) -> Path:
    """Copy the files that git knows or does not ignore."""
    command = ["git", "-C", str(tree), "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (tree / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, target / name)
    return target


def _judge(one: Break, copy: Path) -> str:
    path = copy / one.file
    whole = path.read_text("utf8")
    path.write_text(whole.replace(one.old, one.new), "utf8")
    try:
        return SURVIVED if _passes(copy, one.tests) else CAUGHT
    finally:
        path.write_text(whole, "utf8")


def _passes(copy: Path, tests: Sequence[str]) -> bool:
    process = CONTEXT.Process(target=_test, args=(copy, tests))
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def _test(copy: Path, tests: Sequence[str]) -> None:
    """Run tests in this process, on the code of the copy."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(copy)
    # No .pyc: one of the same second and size would hide an edit.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    own = {path.stem for path in copy.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    import pytest

    sys.exit(pytest.main([*OPTIONS, *tests]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a break survives, is stale or cannot be judged."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.mutations", description="Break the code on purpose."
    )
    parser.add_argument("patterns", nargs="*", help="names or files, with * (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested at once")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--check", action="store_true", help="only look for stale ones")
    options = parser.parse_args(arguments)
    breaks = select(load(), options.patterns)
    if not breaks or options.jobs < 1:
        print("error: no such break (see --list), or --jobs below 1", file=sys.stderr)
        return 2

    def show(one: Break, outcome: str, seconds: float | None = None) -> None:
        took = "" if seconds is None else f"{seconds:6.1f} s  "
        print(f"{outcome:<8}  {took}{one.name}  ({one.file})", flush=True)

    if options.list:
        for one in breaks:
            show(one, "")
        return 0
    if options.check:
        stale = [one for one in breaks if one.is_stale(ROOT)]
        for one in stale:
            show(one, STALE)
        print(f"{len(breaks)} breaks, {len(stale)} stale")
        return int(bool(stale))
    sleep_soon()
    counts = Counter(run(breaks, jobs=options.jobs, on_result=show))
    found = ", ".join(f"{counts[word]} {word}" for word in (CAUGHT, SURVIVED, STALE, FAILING))
    print(f"{len(breaks)} breaks: {found}")
    return int(counts[CAUGHT] < len(breaks))


if __name__ == "__main__":
    sys.exit(main())
