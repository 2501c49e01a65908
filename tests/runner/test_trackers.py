"""Trackers are told what the record says, go on with it, and never cost a training."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.runner import trackers
from bench.runner.trackers import SCALARS, Tracking, open_store, require_tracker, results_of

FAST = (
    "--epochs 3 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-2 "
    "--no-timing --threads 1 --tune off"
)
TENSORBOARD = importlib.util.find_spec("tensorboard") is not None
MLFLOW = importlib.util.find_spec("mlflow") is not None
needs_tensorboard = pytest.mark.skipif(not TENSORBOARD, reason="tensorboard is not installed")
needs_mlflow = pytest.mark.skipif(not MLFLOW, reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return here


@pytest.fixture
def line(photos: Path, tiny_plugin: Path) -> str:
    return f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST}"


def only_run(here: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = here.glob("results/*/run.json")
    return path.parent, json.loads(path.read_text())


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    from bench.train import loop

    original, count = loop.train_step, 0

    def spy(*args: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **keywords)

    monkeypatch.setattr(loop, "train_step", spy)


# --- TensorBoard -----------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def same_as_record(found: dict[str, list[tuple[int, float]]], record: dict[str, Any]) -> None:
    for column, title in SCALARS.items():
        expected = [(row["epoch"], row[column]) for row in record["training"]["epochs"]]
        assert [step for step, _ in found[title]] == [step for step, _ in expected]
        assert [value for _, value in found[title]] == pytest.approx(
            [value for _, value in expected], rel=1e-6
        )


@needs_tensorboard
def test_tensorboard_reads_the_records_curves(here: Path, line: str) -> None:
    assert main([*shlex.split(line), "--tracker", "tensorboard"]) == 0
    folder, record = only_run(here)
    assert record["tracker"] == {
        "name": "tensorboard", "store": "the run's folder", "id": None,
    }  # fmt: skip
    found = scalars(folder)
    same_as_record(found, record)
    first = record["training"]["epochs"][0]
    for title, column in (("loss/train", "train_loss"), ("macro_f1/valid", "valid_macro_f1")):
        assert found[title][0][1] == pytest.approx(first[column], rel=1e-6)
    assert found["test/accuracy"][0][1] == pytest.approx(record["test"]["accuracy"])
    assert record["warnings"] == []


@needs_tensorboard
def test_a_run_that_goes_on_has_each_epoch_once(here: Path, line: str, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        assert main([*shlex.split(line), "--tracker", "tensorboard"]) == 143
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4]]) == 0
    folder, record = only_run(here)
    same_as_record(scalars(folder), record)


# --- MLflow ----------------------------------------------------------------------------------


@needs_mlflow
def test_mlflow_has_the_records_curves_and_options(here: Path, line: str) -> None:
    from mlflow import MlflowClient

    assert main([*shlex.split(line), "--tracker", "mlflow"]) == 0
    folder, record = only_run(here)
    assert record["tracker"]["store"] == "mlflow.db in --results-dir"
    client = MlflowClient(f"sqlite:///{here / 'results' / 'mlflow.db'}")
    run = client.get_run(record["tracker"]["id"])
    assert run.info.run_name == folder.name
    assert run.info.status == "FINISHED"
    assert run.data.params["head_lr"] == "0.01"
    assert run.data.params["variant"] == "Tiny"
    found = {
        title: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, title)]
        for title in SCALARS.values()
    }
    same_as_record(found, record)
    assert run.data.metrics["test/accuracy"] == pytest.approx(record["test"]["accuracy"])


@needs_mlflow
def test_mlflows_run_goes_on_with_the_training(here: Path, line: str, monkeypatch) -> None:
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        assert main([*shlex.split(line), "--tracker", "mlflow"]) == 143
    _, record = only_run(here)
    client = MlflowClient(f"sqlite:///{here / 'results' / 'mlflow.db'}")
    begun = record["tracker"]["id"]
    assert client.get_run(begun).info.status == "KILLED"
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4]]) == 0
    _, record = only_run(here)
    assert record["tracker"]["id"] == begun
    assert client.get_run(begun).info.status == "FINISHED"
    history = client.get_metric_history(begun, "loss/train")
    assert sorted(metric.step for metric in history) == [1, 2, 3]


@needs_mlflow
def test_a_server_that_does_not_answer_is_one_line(here: Path, line: str, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9/base?token=secret")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main([*shlex.split(line), "--tracker", "mlflow"]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("error: ")
    assert "--tracker mlflow: http://127.0.0.1:9/base does not answer" in err
    assert "MLFLOW_TRACKING_URI" in err
    assert "secret" not in err
    assert not list(here.glob("results/*/run.json"))


@needs_mlflow
def test_a_killed_run_goes_on_with_its_own(here: Path, line: str, monkeypatch) -> None:
    """The record on disk names MLflow's run before anything is trained."""
    from bench.train import loop

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", kill)
        with pytest.raises(Killed):
            main([*shlex.split(line), "--tracker", "mlflow"])
    _, record = only_run(here)
    assert record["status"] == "running"
    begun = record["tracker"]["id"]
    assert main(["run", "--resume", "--plugin", shlex.split(line)[4]]) == 0
    assert only_run(here)[1]["tracker"]["id"] == begun


# --- neither ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(here, line, capsys, monkeypatch, name) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda p: None if p == name else find(p))
    assert main([*shlex.split(line), "--tracker", name]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"error: --tracker {name} needs the package {name}: pip install 'paddy-bench[{name}]'\n"
    )
    assert not list(here.iterdir())


class Failing:
    """Fails when it is told for the second time."""

    def __init__(self, *_: object) -> None:
        self.told: list[int] = []

    def epoch(self, row: dict[str, float]) -> None:
        self.told.append(int(row["epoch"]))
        if len(self.told) == 2:
            raise ConnectionError("the server\nhas gone")

    def end(self, status: str, metrics: dict[str, float]) -> None:
        raise AssertionError("it was given up")

    def as_record(self) -> dict[str, Any]:
        return {"name": "mlflow", "store": "planted", "id": "1"}


def test_a_tracker_that_fails_is_given_up_and_the_training_goes_on(
    here: Path, line: str, monkeypatch
) -> None:
    made = []

    def make(*arguments: Any) -> Failing:
        made.append(Failing(*arguments))
        return made[-1]

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", make)
    monkeypatch.setattr("bench.runner.preflight.require_tracker", lambda config: None)
    assert main([*shlex.split(line), "--tracker", "mlflow"]) == 0
    _, record = only_run(here)
    assert record["status"] == "complete"
    assert len(record["training"]["epochs"]) == 3
    assert made[0].told == [1, 2]
    assert record["warnings"] == [
        "--tracker mlflow failed and was told no more: ConnectionError: the server has gone"
    ]


def test_a_tracker_that_cannot_begin_costs_nothing_either(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("no room")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", refuse)
    record: dict[str, Any] = {"warnings": [], "status": "complete", "tracker": None}
    tracking = Tracking(record)
    tracking.begin(RunConfig(tracker="tensorboard"), tmp_path)
    tracking.epoch({"epoch": 1})
    tracking.end()
    assert record["tracker"] is None
    assert record["warnings"] == [
        "--tracker tensorboard failed and was told no more: OSError: no room"
    ]


def test_a_slow_tracker_takes_no_time_of_the_training(tmp_path: Path, monkeypatch) -> None:
    released = threading.Event()
    told = []

    class Slow(Failing):
        def epoch(self, row: dict[str, float]) -> None:
            released.wait(20)
            told.append(row["epoch"])

        def end(self, status: str, metrics: dict[str, float]) -> None:
            told.append(status)

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Slow)
    record: dict[str, Any] = {"warnings": [], "status": "complete", "tracker": None}
    tracking = Tracking(record)
    tracking.begin(RunConfig(tracker="mlflow"), tmp_path)
    begin = time.perf_counter()
    for epoch in (1, 2):
        tracking.epoch({"epoch": epoch})
    assert time.perf_counter() - begin < 1
    assert told == []
    released.set()
    tracking.end()
    assert told == [1, 2, "complete"]
    assert record["warnings"] == []


def test_one_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    released = threading.Event()

    class Stuck(Failing):
        def epoch(self, row: dict[str, float]) -> None:
            released.wait(20)

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Stuck)
    monkeypatch.setattr(trackers, "PATIENCE_S", 0.2)
    record: dict[str, Any] = {"warnings": [], "status": "complete", "tracker": None}
    tracking = Tracking(record)
    tracking.begin(RunConfig(tracker="mlflow"), tmp_path)
    tracking.epoch({"epoch": 1})
    tracking.end()
    released.set()
    (warning,) = record["warnings"]
    assert "did not answer within 0.2 s" in warning


def test_without_a_tracker_nothing_is_imported_or_told(tmp_path: Path) -> None:
    record: dict[str, Any] = {"warnings": [], "status": "complete"}
    tracking = Tracking(record)
    tracking.begin(RunConfig(), tmp_path)
    tracking.epoch({"epoch": 1})
    tracking.end()
    require_tracker(RunConfig())
    open_store(RunConfig())
    assert record == {"warnings": [], "status": "complete"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["http://user:secret@host/p?token=secret", "http://[bad"])
def test_a_store_is_shown_without_its_secrets(address: str, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert "secret" not in trackers._shown(RunConfig())
    error = ConnectionError(f"request to {address} failed: Max retries (url: /x?token=secret)")
    assert "secret" not in trackers._said(error)


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises((ValueError, BenchError), match="tracker"):
        RunConfig(tracker="wandb")


def test_results_of_a_failed_run_are_what_there_is() -> None:
    assert results_of({"training": None, "metrics": None}) == {}
    found = results_of({"test": {"accuracy": 0.5, "macro_f1": None}, "counts": {"parameters": 7}})
    assert found == {"test/accuracy": 0.5, "parameters": 7.0}
