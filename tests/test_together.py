"""Runs that torchrun starts: several processes train one model, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main

ROOT = Path(__file__).parents[1]
FAST = (
    "--epochs 3 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-3 "
    "--no-timing --tune off --save-history"
)
BREAKS = """
import os
from bench.train import engine

step, count = engine.training_step, 0

def broken(*args, **options):
    global count
    count += 1
    if count == 5 and os.environ.get("RANK") == "{rank}":
        {what}
    return step(*args, **options)

engine.training_step = broken
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def start(line: str, processes: int = 2, script: str | None = None) -> subprocess.Popen[str]:
    module = ["-m", "bench"] if script is None else [str(ROOT / script)]
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
            "--standalone", *module, *line.split(),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def torchrun(line: str, **how: Any) -> tuple[int, str, str]:
    process = start(line, **how)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def records(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("results/*/run.json")]
    assert len({one["variant"]["name"] for one in found}) == len(found)
    return {one["variant"]["name"]: one for one in found}


@pytest.mark.slow
def test_two_processes_train_what_one_does(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    # Slowly: what is large at first is rounding that a large step makes larger.
    line += " --class-weights balanced --head-lr 1e-3 --base-lr 1e-5"
    code, out, err = torchrun(line)
    assert code == 0, err
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
def test_a_training_goes_on_with_another_number_of_processes(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --epochs 60"
    process = start(line)
    deadline = time.monotonic() + 120
    while not list(here.glob("results/*/last.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert "stopped by SIGTERM: what is finished is kept; go on with: " in err
    assert "/bench/" not in err, "a traceback of ours"
    (record,) = records(here).values()
    assert record["status"] == "running"
    assert main(f"run --resume --plugin {tiny_plugin} --patience 9".split()) == 2  # cannot change
    assert main(f"run --resume --plugin {tiny_plugin}".split()) == 0
    (record,) = records(here).values()
    assert record["status"] == "complete"
    epochs = record["training"]["epochs"]
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))
    assert "trained anew" not in " ".join(record["warnings"])


@pytest.mark.slow
def test_several_processes_divide_no_batch_that_one_has_divided(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    assert main(f"{line} --hours 1e-6".split()) == 0
    (path,) = here.glob("results/sweep-*.json")
    path.with_name(f".{path.stem}-parts.4").touch()
    code, _, err = torchrun(f"run --resume --plugin {tiny_plugin}")
    assert code == 0, err
    (record,) = records(here).values()
    assert record["training"]["accumulation_parts"] == 1
    assert "gradient accumulation" not in " ".join(record["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_all_with_its_message(
    photos, tiny_plugin, here, rank: int
) -> None:
    with tiny_plugin.open("a") as file:
        file.write(BREAKS.format(rank=rank, what='raise ValueError("a broken rail")'))
    line = f"run --variants Tiny,Tiny_CA --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    begin = time.monotonic()
    code, _, err = torchrun(line)
    assert code == 1
    assert time.monotonic() - begin < 60
    assert "a broken rail" in err
    (record,) = records(here).values()
    assert record["status"] == "failed"
    assert "a broken rail" in record["error"]["message"]
    # The reason is mended: the rest goes on, in one process here.
    tiny_plugin.write_text(tiny_plugin.read_text().split("import os")[0])
    assert main(f"run --resume --plugin {tiny_plugin}".split()) == 0
    assert {one["status"] for one in records(here).values()} == {"complete"}


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others(photos, tiny_plugin, here) -> None:
    with tiny_plugin.open("a") as file:
        file.write(BREAKS.format(rank=1, what="os.kill(os.getpid(), 9)"))
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    code, _, _ = torchrun(line)
    assert code != 0
    (record,) = records(here).values()
    assert record["status"] in ("running", "failed")


@pytest.mark.slow
def test_processes_with_loaders_of_their_own_stop_in_good_order(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --epochs 90"
    process = start(f"{line} --num-workers 1 --gather file://{here}/gathered")
    deadline = time.monotonic() + 120
    while not list(here.glob("results/*/last.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert "stopped by SIGTERM: what is finished is kept; go on with: " in err
    (record,) = records(here).values()
    assert record["status"] == "running"
    again = f"run --resume --plugin {tiny_plugin} --hours 0.0001"
    assert main(again.split()) == 0


@pytest.mark.slow
def test_what_is_asked_wrongly_is_one_line(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} --devices 2"
    code, out, err = torchrun(line)
    assert code != 0
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
