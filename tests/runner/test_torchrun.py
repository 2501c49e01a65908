"""Runs that torchrun starts: several processes train one model, from the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.cli.main import main
from tests.support.forked import PATIENCE_S, ROOT
from tests.support.sweeps import FAST, Halt, records, states
from tests.support.together import together

# Slowly: what is large at first is rounding that a large step makes larger.
SLOWLY = f"{FAST} --head-lr 1e-3 --base-lr 1e-5"
BREAKS = """
import os
from bench.train import loop

step, count = loop.train_step, 0

def broken(*args, **options):
    global count
    count += 1
    if count == 5 and os.environ.get("RANK") == "{rank}":
        raise ValueError("a broken rail")
    return step(*args, **options)

loop.train_step = broken
"""


@contextlib.contextmanager
def torchrun(line: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Two processes, started by torchrun itself."""
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--standalone", "-m", "bench", *line.split(),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()


def of_rank(rank: int, launcher: subprocess.Popen[bytes]) -> psutil.Process:
    (found,) = (
        one
        for one in psutil.Process(launcher.pid).children(recursive=True)
        if one.environ().get("RANK") == str(rank) and one.ppid() == launcher.pid
    )
    return found


@pytest.mark.slow
def test_a_training_that_is_killed_and_stopped_ends_as_that_of_one_process(
    photos, tiny_plugin, here
) -> None:
    line = f"run --variants Tiny --data-dir {photos} {SLOWLY}"
    alone = f"{line} --plugin {tiny_plugin} --results-dir alone/results"
    assert main(alone.split()) == 0
    halt = Halt(tiny_plugin)
    with torchrun(f"{line} --plugin {halt.plugin}", here) as launcher:
        deadline = time.monotonic() + PATIENCE_S
        while not states(here):
            assert time.monotonic() < deadline
            assert launcher.poll() is None, (here / "said").read_text()
            time.sleep(0.05)
        first, second = of_rank(0, launcher), of_rank(1, launcher)
        second.kill()
        assert launcher.wait(PATIENCE_S) != 0
        assert not first.is_running()
    (record,) = records(here).values()
    assert record["status"] in ("running", "failed")
    # With loaders of their own, which end in good order too.
    again = f"run --resume --plugin {halt.plugin} --num-workers 1 --gather file://{here}/gathered"
    with together(again) as team:
        team.wait_for(lambda: records(here)["Tiny"]["resumed"])
        team.wait_for(lambda: team.err.count("[1/1]") == 1)
        team.send_signal(signal.SIGTERM)
        _, _, err = team.end()
    assert err.count("stopped by SIGTERM: what is finished is kept; go on with: ") == 1
    assert "/bench/" not in err, "a traceback of ours"
    assert records(here)["Tiny"]["status"] == "running"
    # With another number of processes.
    assert main(f"run --resume --plugin {tiny_plugin} --patience 9".split()) == 2  # cannot change
    assert main(f"run --resume --plugin {tiny_plugin} --num-workers 0".split()) == 0
    (one,), (other,) = records(here / "alone").values(), records(here).values()
    assert other["status"] == "complete"
    assert "trained anew" not in " ".join(other["warnings"])
    for mine, yours in zip(one["training"]["epochs"], other["training"]["epochs"], strict=True):
        assert yours["epoch"] == mine["epoch"]
        assert yours["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_what_one_does(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {SLOWLY}"
    line += " --class-weights balanced"
    with together(line) as team:
        codes, out, err = team.end()
    assert codes == [0, 0], err
    assert out.count("2 runs, 0 failed") == 1
    assert err.count("Tiny_CA  epoch 3/3") == 1, "one process writes"
    several = records(here)
    assert len(list(here.glob("results/sweep-*.json"))) == 1
    assert main(f"{line} --results-dir alone/results".split()) == 0
    alone = records(here / "alone")
    for name, one in alone.items():
        other = several[name]
        assert other["training"]["setup"]["team"]["processes"] == 2
        assert one["training"]["setup"]["team"] is None
        for mine, yours in zip(one["training"]["epochs"], other["training"]["epochs"], strict=True):
            assert yours["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-5)
        for part in ("validation", "test"):
            assert other[part]["ids"] == one[part]["ids"]
            assert other[part]["labels"] == one[part]["labels"]
            assert len(other[part]["predictions"]) == len(one[part]["predictions"])
        assert other["counts"] == one["counts"]


@pytest.mark.slow
def test_several_processes_divide_no_batch_that_one_has_divided(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --epochs 1"
    assert main(f"{line} --hours 1e-6".split()) == 0
    (path,) = here.glob("results/sweep-*.json")
    path.with_name(f".{path.stem}-parts.4").touch()
    with together(f"run --resume --plugin {tiny_plugin}") as team:
        codes, _, err = team.end()
    assert codes == [0, 0], err
    (record,) = records(here).values()
    assert record["training"]["accumulation_parts"] == 1
    assert "gradient accumulation" not in " ".join(record["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_all_with_its_message(
    photos, tiny_plugin, here, rank: int
) -> None:
    broken = tiny_plugin.with_name("broken.py")
    broken.write_text(tiny_plugin.read_text() + BREAKS.format(rank=rank))
    line = f"run --variants Tiny,Tiny_CA --plugin {broken} --data-dir {photos} {FAST} --epochs 2"
    with together(line) as team:
        codes, _, err = team.end()
    assert codes == [1, 1]
    assert "a broken rail" in err
    (record,) = records(here).values()
    assert record["status"] == "failed"
    assert "a broken rail" in record["error"]["message"]
    # The reason is mended: the rest goes on, in one process here.
    assert main(f"run --resume --plugin {tiny_plugin}".split()) == 0
    assert {one["status"] for one in records(here).values()} == {"complete"}


@pytest.mark.slow
def test_what_is_asked_wrongly_is_one_line(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --devices 2"
    with together(line) as team:
        codes, out, err = team.end()
    assert codes[0] == 2
    assert codes[1] != 0
    assert err.count("error: --devices 2 trains several models at once") == 1
    assert out == ""
    assert not list(here.glob("results/*"))


def test_an_error_is_told_where_one_process_has_a_rank(monkeypatch, capsys) -> None:
    """Clusters set RANK for programs that are nothing of torchrun's."""
    monkeypatch.setenv("RANK", "3")
    assert main(["run", "--data-dir", "nowhere"]) == 2
    assert "no such data folder: nowhere" in capsys.readouterr().err


def test_other_commands_are_done_by_one_process(monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["list"]) == 2
    assert "torchrun started 2 processes, and list is done by one" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(["list"]) == 2
    assert capsys.readouterr().err == ""
