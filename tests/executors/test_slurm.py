"""Sweeps as SLURM jobs, by submitit's own executor for this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.cli import main
from bench.config import RunConfig
from bench.errors import BenchError
from bench.executors import on_slurm
from bench.executors.on_slurm import FileBoard, parameters
from tests.executors.test_ray import FAST, records, rows, start, wait_for

pytest.importorskip("submitit", reason="needs the extra slurm")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_jobs_train_what_this_process_trains(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    process = start(f"{line} --executor slurm-local --devices 2 --slurm timeout_min=5")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "2 runs, 0 failed" in out
    assert "Tiny_CA  epoch 3/3" in err
    several = records(here)
    assert main(f"{line} --threads 1 --results-dir alone/results".split()) == 0
    for name, alone in records(here / "alone").items():
        assert rows(several[name]) == rows(alone)
        assert several[name]["training"]["beside"] == 1
        assert alone["training"]["beside"] == 0
    left = {path.name for path in (here / "results").iterdir() if path.name.startswith(".")}
    assert not any(name.startswith((".jobs", ".shared", ".task")) for name in left)


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_from_its_last_epoch(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    process = start(f"{line} --executor slurm-local --epochs 40 --patience 40")
    wait_for(lambda: list(here.glob("results/*/last.pt")), process)

    def jobs() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children(recursive=True)
        return [one for one in children if "submitit.core._submit" in " ".join(one.cmdline())]

    for job in wait_for(jobs, process):
        job.kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (record,) = records(here).values()
    assert record["status"] == "complete"
    assert len(record["resumed"]) == 1
    assert [row["epoch"] for row in record["training"]["epochs"]] == list(range(1, 41))


@pytest.mark.slow
def test_jobs_are_cancelled_in_good_order(photos, tiny_plugin, here) -> None:
    line = f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    process = start(f"{line} --executor slurm-local --epochs 400 --patience 400")
    wait_for(lambda: list(here.glob("results/*/last.pt")), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM: what is finished is kept; go on with: " in err
    (record,) = records(here).values()
    assert record["status"] == "running"


def test_a_machine_without_slurm(photos, here, monkeypatch, capsys) -> None:
    monkeypatch.setattr(on_slurm.shutil, "which", lambda name: None)
    assert main(f"run --executor slurm --data-dir {photos} {FAST}".split()) == 2
    assert "there is no sbatch on this machine" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(photos, here, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(f"run --executor slurm --data-dir {photos} {FAST}".split()) == 2
    assert "pip install 'paddy-bench[slurm]'" in capsys.readouterr().err


def slurm(monkeypatch, **options: Any) -> RunConfig:
    monkeypatch.setattr(on_slurm, "check_cluster", lambda executor: None)
    monkeypatch.setattr(on_slurm, "_executor", lambda *args, **options: None)
    return RunConfig(executor="slurm", **options)


def test_jobs_train_on_what_is_asked_of_slurm_whatever_the_login_node_has(monkeypatch) -> None:
    def found(here: str = "cpu", **options: Any) -> list[str]:
        return on_slurm.find_devices(slurm(monkeypatch, devices=2, **options), here, 4)

    assert found() == ["cpu"] * 2
    assert found(device="cuda") == ["cuda"] * 2
    assert found(slurm="gpus_per_node=1") == ["cuda"] * 2
    assert found(slurm="gres=gpu:1") == ["cuda"] * 2
    assert found(slurm="partition=gpu,gres=shard:1") == ["cpu"] * 2
    assert found(slurm="gpus_per_node=1", device="cpu") == ["cpu"] * 2
    assert found(here="cuda") == ["cuda"] * 2
    assert len(on_slurm.find_devices(slurm(monkeypatch), "cpu", 4)) == on_slurm.AT_ONCE


def test_jobs_of_this_machine_are_as_many_as_it_can_take() -> None:
    def found(here: str, **options: Any) -> list[str]:
        return on_slurm.find_devices(RunConfig(executor="slurm-local", **options), here, 4)

    assert found("cpu") == ["cpu"]
    assert found("cpu", devices=3) == ["cpu"] * 3
    assert found("cuda", device="cpu", devices=3) == ["cpu"] * 3
    assert found("cuda") == ["cuda"]
    with pytest.raises(BenchError, match="slurm-local trains 4 at once here"):
        found("cpu", devices=5)
    with pytest.raises(BenchError, match="slurm-local trains 1 at once here"):
        found("cuda", devices=2)
    with pytest.raises(BenchError, match="this machine has no GPU"):
        found("cpu", device="cuda")
    with pytest.raises(BenchError, match="--slurm timeout=5: submitit does not take that"):
        found("cpu", slurm="timeout=5")


def test_jobs_that_wait_are_cancelled_and_earlier_ones_told_to_stop(tmp_path: Path) -> None:
    class Job:
        def __init__(self, state: str) -> None:
            self.state, self.cancelled = state, False

        def done(self) -> bool:
            return False

        def cancel(self) -> None:
            self.cancelled = True

    crew = on_slurm.SlurmCrew(None, tmp_path)
    waiting, running = Job("PENDING"), Job("RUNNING")
    crew._tasks = {waiting: (None, 0), running: (None, 0)}  # type: ignore[dict-item]
    crew.stop(15)
    assert waiting.cancelled
    assert not running.cancelled


def test_parameters() -> None:
    assert parameters(None) == {"timeout_min": 1440}
    assert parameters("partition=gpu, timeout-min=60,mem_gb=8") == {
        "slurm_partition": "gpu",
        "timeout_min": 60,
        "mem_gb": 8,
    }
    with pytest.raises(BenchError, match="'gpu' is no name=value"):
        parameters("gpu")
    with pytest.raises(BenchError, match="--slurm timeout_min=long: give a whole number"):
        parameters("timeout_min=long")


def test_what_a_job_says_is_read_by_whole_lines(tmp_path: Path) -> None:
    board, crew = FileBoard(tmp_path, 1), on_slurm.SlurmCrew(None, tmp_path)
    assert crew.lines() == []
    board.say("epoch 1")
    with (tmp_path / "lines-1.txt").open("a") as file:
        file.write("half")
    assert crew.lines() == ["epoch 1"]
    assert board.stopped() is None
    crew.stop(signal.SIGTERM)
    assert board.stopped() == signal.SIGTERM
    with (tmp_path / "lines-1.txt").open("a") as file:
        file.write(" a line\n")
    assert crew.lines() == ["half a line"]


def test_what_slurm_takes_away_is_submitted_again() -> None:
    work = on_slurm.Work(Path("boards"), 3)
    task: Any = object()
    again = work.checkpoint(task)
    assert again.function is work
    assert again.args == (task,)
