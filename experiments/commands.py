"""Runs the harness as users do, ``python -m bench``, and watches what it does and takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import psutil

from bench.config.presets import ENVIRONMENT_PREFIX
from bench.errors import BenchError
from bench.system.launch import SPIN_VARIABLE
from bench.system.memory import ALLOCATOR_ENVIRONMENT
from experiments.pictures import pictures

ROOT = Path(__file__).resolve().parents[1]
# Whatever hangs longer has failed.
PATIENCE_S = 900.0
SAMPLE_S = 0.5
COSTS = "one-off costs"

Watcher = Callable[[Any], object]


def environment(*, cache: Path | None = None, allocator: bool = False) -> dict[str, str]:
    """Environment of a process: this one's, without allocator settings and options of the harness.

    Args:
        cache: folder of the harness' cache, for one that begins empty.
        allocator: give it the allocator's settings from the start.
    """
    cache_variable = ENVIRONMENT_PREFIX + "CACHE_DIR"
    left_out = {*ALLOCATOR_ENVIRONMENT, SPIN_VARIABLE}
    values = {
        name: value
        for name, value in os.environ.items()
        if name == cache_variable or not (name in left_out or name.startswith(ENVIRONMENT_PREFIX))
    }
    values["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), values.get("PYTHONPATH")]))
    if cache is not None:
        values[cache_variable] = str(cache)
    return values | (ALLOCATOR_ENVIRONMENT if allocator else {})


@attrs.frozen
class Ended:
    """A command that came to its end, or was killed.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        seconds: wall time of the process.
        lines: its standard error, each line with its second.
        out: its standard output.
        records: of a training: what it left, in order of their start.
        memory: anonymous memory in MB of the process itself and of it with its children, each with
            its second; empty where it was not watched.
    """

    code: int
    seconds: float
    lines: list[tuple[float, str]]
    out: str
    records: Sequence[dict[str, Any]] = ()
    memory: Sequence[tuple[float, float, float]] = ()

    @property
    def text(self) -> str:
        """All that it printed, errors first."""
        return "\n".join([*(line for _, line in self.lines), self.out])

    @property
    def last_line(self) -> str:
        """The last line of its standard error."""
        return next((line for _, line in reversed(self.lines) if line.strip()), "")

    @property
    def traceback(self) -> bool:
        """Whether anybody saw a traceback."""
        return "Traceback (most recent call last)" in self.text

    @property
    def costs(self) -> str:
        """Its own line about where the time went."""
        return "; ".join(line for line in self.out.splitlines() if COSTS in line)


def run_bench(
    arguments: Sequence[str],
    folder: Path,
    *,
    cache: Path | None,
    through: Sequence[str] = ("bench",),
    kill_after: float = PATIENCE_S,
    during: Watcher = lambda process: None,
) -> Ended:
    """``python -m bench ARGUMENTS`` in a folder.

    Args:
        arguments: of the command.
        folder: the current folder: its ``results`` and ``reports`` are there.
        cache: the harness' cache; none: this process' own.
        through: a module that runs the command, and what it is given first.
        kill_after: seconds after which it is killed (SIGKILL), if it is still there.
        during: called in a thread with the process when it has begun.
    """
    begin = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf8", errors="replace") as out,
        subprocess.Popen(
            [sys.executable, "-m", *through, *arguments],
            cwd=folder,
            env=environment(cache=cache),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process,
    ):
        watcher = threading.Thread(target=during, args=(process,), daemon=True)
        killer = threading.Timer(kill_after, process.kill)
        killer.daemon = True
        watcher.start()
        killer.start()
        lines = [(time.perf_counter() - begin, line.rstrip()) for line in process.stderr]
        code = process.wait()
        seconds = time.perf_counter() - begin
        killer.cancel()
        watcher.join()
        out.seek(0)
        return Ended(code, seconds, lines, out.read())


def every(seconds: float, act: Watcher) -> Watcher:
    """Return a watcher that does ``act`` again and again until it is true or the process ends."""

    def watch(process: Any) -> None:
        while process.poll() is None and not act(process):
            time.sleep(seconds)

    return watch


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Records in the folder of a command, in order of their start."""
    records = [json.loads(path.read_text("utf8")) for path in folder.glob("results/*/run.json")]
    return sorted(records, key=lambda record: (record["started"], record["variant"]["name"]))


def training_flags(chosen: Mapping[str, Any], **more: Any) -> list[str]:
    """Flags of a training to its last epoch on drawn pictures.

    Args:
        chosen: ``variants``, ``images``, ``image_size``, ``batch_size`` and ``epochs``; others are
            not for the command.
        more: other options by name (True stands alone), and what takes the place of these.
    """
    options = {name: chosen[name] for name in ("image_size", "batch_size", "epochs")}
    options |= {"variants": chosen.get("variants"), "patience": chosen["epochs"]} | more
    if "data_dir" not in options:
        options["data_dir"] = pictures(chosen["images"])
    if not isinstance(options["variants"], str):
        options["variants"] = ",".join(options["variants"])
    arguments = []
    for name, value in options.items():
        arguments.append("--" + name.replace("_", "-"))
        if value is not True:
            arguments.append(str(value))
    return arguments


def train(
    arguments: Sequence[str],
    *,
    cache: Path | None = None,
    watch_memory: bool = False,
    through: Sequence[str] = ("bench",),
) -> Ended:
    """``python -m bench run ARGUMENTS --no-timing`` in a folder of its own.

    Args:
        arguments: flags of the run.
        cache: the harness' cache; none: one that begins empty.
        watch_memory: sample its memory every :data:`SAMPLE_S`.
        through: as of :func:`run_bench`.

    Raises:
        BenchError: it did not succeed.
    """
    memory: list[tuple[float, float, float]] = []
    begin = time.perf_counter()

    def sample(process: Any) -> None:
        parent = anonymous_mb(process.pid)
        if parent is not None:
            whole = parent + sum(anonymous_mb(pid) or 0.0 for pid in children_of(process.pid))
            memory.append((time.perf_counter() - begin, parent, whole))

    with tempfile.TemporaryDirectory(prefix="paddy-bench-speed-") as name:
        folder = Path(name)
        ended = run_bench(
            ["run", *arguments, "--no-timing"],
            folder,
            cache=cache or folder / "cache",
            through=through,
            kill_after=threading.TIMEOUT_MAX,
            during=every(SAMPLE_S, sample) if watch_memory else lambda process: None,
        )
        if ended.code:
            message = ended.last_line or "no message"
            raise BenchError(f"bench run {' '.join(arguments)} ended with {ended.code}: {message}")
        return attrs.evolve(ended, records=read_records(folder), memory=memory)


def epoch_seconds(record: Mapping[str, Any]) -> float:
    """Steps and validation of a run: no saving of weights, no building."""
    return sum(row["train_seconds"] + row["valid_seconds"] for row in record["training"]["epochs"])


# --- memory ----------------------------------------------------------------------------------


def anonymous_mb(pid: int) -> float | None:
    """Anonymous resident memory of a process in MB (10⁶ bytes); None where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 / 1e6 if sizes else None


def children_of(pid: int) -> list[int]:
    """Processes below that one."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


# --- processes of Python ---------------------------------------------------------------------


def run_python(*arguments: str) -> str:
    """What a fresh Python process prints.

    Raises:
        CalledProcessError: it did not succeed.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def python_seconds(arguments: Sequence[str], times: int) -> list[float]:
    """Wall times of fresh Python processes, after one that warms up."""
    seconds = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        run_python(*arguments)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


# All that a run without timing imports (:func:`missing_imports`), without collecting garbage during
# or after it, which would make them slower than a run's; what is not installed is passed over.
IMPORTS = """
import contextlib, gc, importlib
gc.disable()
for name in (
    "bench.cli.main", "bench.cli.run", "bench.runner.preflight", "bench.runner.sweep", "timm",
    "fvcore.nn", "cv2", "torchvision", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "pandas", "scipy.stats",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
gc.freeze()
"""
# A run within a process that tells afterwards what it had imported.
_TELL = """
import atexit, json, pathlib, runpy, sys
file, *arguments = sys.argv[1:]
atexit.register(lambda: pathlib.Path(file).write_text(json.dumps(sorted(sys.modules))))
sys.argv = ["bench", *arguments]
"""
_RUN = 'runpy.run_module("bench", run_name="__main__", alter_sys=True)'


def missing_imports(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Packages that ``bench ARGUMENTS`` imports and :data:`IMPORTS` does not, and the reverse."""
    with tempfile.TemporaryDirectory() as folder:
        packages = []
        options = ["--no-timing", "--results-dir", folder, "--reports-dir", folder]
        for code in (_TELL + _RUN, _TELL + IMPORTS):
            file = Path(folder, "modules.json")
            run_python("-W", "ignore", "-c", code, str(file), *arguments, *options)
            modules = json.loads(file.read_text("utf8"))
            packages.append({module.partition(".")[0] for module in modules})
    run, imports = packages
    return {"run only": sorted(run - imports), "imports only": sorted(imports - run)}


def import_seconds(times: int) -> list[float]:
    """Wall times of fresh processes that import what a run imports, and end; one warms up."""
    return python_seconds(["-W", "ignore", "-c", IMPORTS], times)
