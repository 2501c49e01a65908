"""Sweeps as SLURM jobs, by submitit's own executor for this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from bench.cli.main import main
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.executors import base
from bench.executors import slurm as on_slurm
from bench.executors import task as executed
from bench.executors.slurm import FileChannel, parameters
from bench.system.environment import usable_cores
from bench.train import loop
from tests.support.forked import ROOT, Command
from tests.support.sweeps import FAST, Halt, records, rows, states

pytest.importorskip("submitit", reason="needs the extra slurm")


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Workers are processes of their own.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return here


def _jobs() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "submitit.core._submit" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_a_sweep_that_is_killed_and_stopped_ends_as_one_of_this_process(
    photos, tiny_plugin, here, capsys
) -> None:
    line = f"run --variants Tiny --data-dir {photos} {FAST}"
    assert main(f"{line} --plugin {tiny_plugin} --results-dir alone/results".split()) == 0
    line += f" --plugin {Halt(tiny_plugin).plugin} --executor slurm-local --slurm timeout_min=5"
    with Command(line.split(), here) as sweep:
        sweep.wait_for(lambda: states(here))
        for job in sweep.wait_for(_jobs):
            job.kill()
        sweep.wait_for(lambda: records(here)["Tiny"]["resumed"])
        sweep.send_signal(signal.SIGTERM)
        code, _, err = sweep.end()
    assert code == 143, err
    assert "stopped by SIGTERM: what is finished is kept; go on with: " in err
    assert records(here)["Tiny"]["status"] == "running"
    capsys.readouterr()
    assert main(f"run --resume --plugin {tiny_plugin}".split()) == 0
    said = capsys.readouterr()
    assert "1 run, 0 failed" in said.out
    assert "Tiny  epoch 3/3" in said.err
    (several,), (alone,) = records(here).values(), records(here / "alone").values()
    assert several["status"] == "complete"
    assert len(several["resumed"]) == 2
    assert "trained anew" not in " ".join(several["warnings"])
    assert rows(several) == rows(alone)
    assert several["validation"] == alone["validation"]


class Done:
    """A job that has ended."""

    def __init__(self, folder: Path, found: Any) -> None:
        self.paths = SimpleNamespace(result_pickle=folder / "result")
        self.paths.result_pickle.touch()
        self._found = found

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return self._found


class FakeTimingProcess:
    """Stands for submitit: what is submitted is done by this process, and at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks: list[Any] = []

    def submit(self, work: on_slurm.Work, task: Any) -> Done:
        self.tasks.append(task)
        return Done(self.folder, work(task))


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTimingProcess]:
    """Jobs of SLURM as this process does them."""
    threads = torch.get_num_threads()
    crew = FakeTimingProcess(tmp_path)
    monkeypatch.setattr(on_slurm, "_executor", lambda *_, **__: crew)
    monkeypatch.setattr(base, "WAIT_S", 0.0)
    # This process has the plugins of the command.
    monkeypatch.setattr(executed, "load_texts", lambda *_: None)
    yield crew
    torch.set_num_threads(threads)


def test_a_run_that_raises_is_a_row_and_the_others_go_on(
    photos, tiny_plugin, here, played, monkeypatch, capsys
) -> None:
    step = loop.train_step

    def broken(optim: Any, *args: Any, **options: Any) -> Any:
        if len(getattr(optim.model, "attention", None) or ()):
            raise ValueError("a broken rail")
        return step(optim, *args, **options)

    monkeypatch.setattr(loop, "train_step", broken)
    line = f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"
    line = line.replace("--threads 1", "")
    assert main(f"{line} --executor slurm-local --devices 2".split()) == 1
    said = capsys.readouterr()
    assert "2 runs, 1 failed" in said.out
    assert "failed: Tiny_CA: ValueError: a broken rail" in said.err
    found = records(here)
    assert found["Tiny_CA"]["error"]["message"] == "a broken rail"
    assert found["Tiny"]["status"] == "complete"
    assert found["Tiny"]["training"]["beside"] == 1
    assert [task.threads for task in played.tasks] == [max(1, usable_cores() // 2)] * 2
    left = {path.name for path in (here / "results").iterdir() if path.name.startswith(".")}
    assert not any(name.startswith((".jobs", ".shared", ".task")) for name in left)


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

    crew = on_slurm.SlurmPool(None, tmp_path)
    waiting, running = Job("PENDING"), Job("RUNNING")
    task: Any = None
    crew._handles = [on_slurm._Handle(waiting, task), on_slurm._Handle(running, task)]
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
    board, crew = FileChannel(tmp_path, 1), on_slurm.SlurmPool(None, tmp_path)
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
