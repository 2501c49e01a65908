"""Tells an experiment tracker of a run beside its record, which stays the source of truth.

A tracker that fails is given up with a warning; the training goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.runner.record import explain

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
# What each tracker calls a column of an epoch's row.
SCALARS = {
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "train_acc": "accuracy/train",
    "valid_acc": "accuracy/valid",
    "valid_macro_f1": "macro_f1/valid",
    "base_lr": "learning_rate/backbone",
    "head_lr": "learning_rate/head",
    "images_per_s": "speed/train_images_per_s",
    "train_seconds": "speed/train_seconds",
    "valid_seconds": "speed/valid_seconds",
}
# What each tracker is told at the end, and where a record has it.
RESULTS = {
    "best/epoch": ("metrics", "best_epoch"),
    "best/valid_accuracy": ("metrics", "valid_acc"),
    "best/valid_macro_f1": ("training", "best_macro_f1"),
    "test/accuracy": ("test", "accuracy"),
    "test/macro_f1": ("test", "macro_f1"),
    "speed/inference_images_per_s": ("metrics", "fps"),
    "training_seconds": ("training", "seconds"),
    "parameters": ("counts", "parameters"),
}
URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
DATABASE = "mlflow.db"
CLIENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
# How long the end of a run waits for its tracker.
PATIENCE_S = 60.0
DEFAULT_EXPERIMENT = "paddy-bench"


class Tracker(Protocol):
    """What is told of a run."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch ended: a row of the record's ``training.epochs``."""

    def end(self, status: str, metrics: Mapping[str, float]) -> None:
        """The run ended: ``complete``, ``failed``, or ``running`` where it can go on."""

    def as_record(self) -> dict[str, Any]:
        """The ``tracker`` of the record: its name, where it keeps the run, and under what id."""


def require_tracker(config: RunConfig) -> None:
    """See that the tracker is installed.

    Raises:
        BenchError: it is not.
    """
    package = PACKAGES.get(config.tracker)
    if package is not None and find_spec(package) is None:
        raise BenchError(
            f"--tracker {config.tracker} needs the package {package}: "
            f"pip install 'paddy-bench[{config.tracker}]'"
        )


def open_store(config: RunConfig) -> None:
    """Make the tracker's store before processes meet in it.

    Raises:
        BenchError: it does not answer.
    """
    if config.tracker != "mlflow":
        return
    try:
        config.results_dir.mkdir(parents=True, exist_ok=True)
        _experiment(_client(config))
    except Exception as error:
        raise BenchError(
            f"--tracker mlflow: {_shown(config)} does not answer ({_said(error)}): correct {URI}, "
            "or leave it out for a local file"
        ) from error


class Tracking:
    """A tracker of one run, or none, whose failures are noted and not raised.

    What it is told of epochs goes through a thread of its own: a server that is slow or gone away
    takes no time of the training.

    Args:
        record: of the run. It is told which of the tracker's runs is its own, and is warned where
            the tracker fails.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record
        self._name = ""
        self._calls: queue.Queue[Callable[[Tracker], object] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._failure = ""

    def begin(self, config: RunConfig, folder: Path) -> None:
        """Begin a run of the tracker, or go on with the one that the record names.

        Args:
            config: the run's options.
            folder: of the run.
        """
        self._name = config.tracker
        if config.tracker == "none":
            return
        try:
            tracker = TRACKERS[config.tracker](config, folder, self._record)
            self._record["tracker"] = tracker.as_record()
        except Exception as error:
            self._failure = _said(error)
            self._warn()
            return
        # It must not keep the program from its end.
        self._thread = threading.Thread(target=self._call, args=[tracker], daemon=True)
        self._thread.start()

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch ended."""
        if self._thread is not None:
            copy = dict(row)
            self._calls.put(lambda tracker: tracker.epoch(copy))

    def end(self) -> None:
        """The run ended, or was broken off: the record says which."""
        if self._thread is None:
            return
        status, metrics = self._record["status"], results_of(self._record)
        self._calls.put(lambda tracker: tracker.end(status, metrics))
        self._calls.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._failure = self._failure or f"it did not answer within {PATIENCE_S:g} s"
        self._thread = None
        self._warn()

    def _call(self, tracker: Tracker) -> None:
        while (call := self._calls.get()) is not None:
            if not self._failure:
                try:
                    call(tracker)
                except Exception as error:
                    self._failure = _said(error)

    def _warn(self) -> None:
        if self._failure:
            self._record["warnings"].append(
                f"--tracker {self._name} failed and was told no more: {self._failure}"
            )


def _said(error: Exception) -> str:
    """An error in a few words, without the secrets of addresses in it."""
    text = re.sub(r"//[^/@\s]*@", "//", explain(error))
    text = re.sub(r"[?#][^\s'\"),]*", "", text)
    return f"{type(error).__name__}: {text}"[:200]


def results_of(record: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker is told at the end: the record's numbers for the whole run."""
    values = {name: (record.get(block) or {}).get(key) for name, (block, key) in RESULTS.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def _params(config: RunConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    options = config.as_record()
    del options["results_dir"], options["reports_dir"]
    return {
        "variant": record["variant"]["name"],
        "variant_version": record["variant"]["version"],
        "fold": record["data"].get("fold"),
        **options,
    }


# --- TensorBoard -----------------------------------------------------------------------------


class TensorBoard:
    """Scalars and hyperparameters in the run's own folder: ``tensorboard --logdir results``."""

    def __init__(self, config: RunConfig, folder: Path, record: Mapping[str, Any]) -> None:
        from torch.utils import tensorboard

        self._make, self._folder = tensorboard.SummaryWriter, folder
        self._writer: Any = None
        self._params = {
            name: value if isinstance(value, (int, float, bool)) else str(value)
            for name, value in _params(config, record).items()
        }

    def epoch(self, row: Mapping[str, float]) -> None:
        """A scalar of each column."""
        if self._writer is None:
            # Where a run goes on, what was told of this epoch and later ones is of no account.
            self._writer = self._make(str(self._folder), purge_step=int(row["epoch"]))
        for name, title in SCALARS.items():
            self._writer.add_scalar(title, row[name], int(row["epoch"]))
        self._writer.flush()

    def end(self, status: str, metrics: Mapping[str, float]) -> None:
        """Hyperparameters with the run's results, once it is complete."""
        if self._writer is None and status == "complete":
            self._writer = self._make(str(self._folder))  # it was broken off after its last epoch
        if self._writer is None:
            return
        if status == "complete":
            self._writer.add_hparams(self._params, dict(metrics), run_name=".")
        self._writer.close()

    def as_record(self) -> dict[str, Any]:
        """The events lie in the run's folder."""
        return {"name": "tensorboard", "store": "the run's folder", "id": None}


# --- MLflow ----------------------------------------------------------------------------------


def _store(config: RunConfig) -> str:
    return os.environ.get(URI) or f"sqlite:///{(config.results_dir / DATABASE).absolute()}"


def _shown(config: RunConfig) -> str:
    """The store without user and password, and without where the results lie today."""
    address = os.environ.get(URI)
    if not address:
        return f"{DATABASE} in --results-dir"
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"what {URI} names"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _client(config: RunConfig) -> Any:
    # A run is not to wait for minutes, where its user does not say so.
    for name, value in CLIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # It tells of every step that made its tables.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=_store(config))


def _experiment(client: Any) -> str:
    name = os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    return client.create_experiment(name) if experiment is None else experiment.experiment_id


class MLflow:
    """A run of MLflow, on the server of ``MLFLOW_TRACKING_URI`` or ``mlflow.db`` in the results."""

    STATES = {"complete": "FINISHED", "failed": "FAILED", "running": "KILLED"}

    def __init__(self, config: RunConfig, folder: Path, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client, self._where = _client(config), _shown(config)
        self._last = 0
        before = record.get("tracker") or {}
        if before.get("name") == "mlflow" and before.get("store") == self._where:
            # Where it is no longer there, another one begins.
            with contextlib.suppress(Exception):
                self._id = before["id"]
                self._client.update_run(self._id, status="RUNNING")
                history = self._client.get_metric_history(self._id, SCALARS["train_loss"])
                self._last = max((metric.step for metric in history), default=0)
                return
        tags = {
            "paddy_bench.run": folder.name,
            "paddy_bench.sweep": record["sweep"]["id"],
            "mlflow.source.name": record["sweep"]["command"],
        }
        run = self._client.create_run(_experiment(self._client), tags=tags, run_name=folder.name)
        self._id = run.info.run_id
        params = [Param(name, str(value)) for name, value in _params(config, record).items()]
        self._client.log_batch(self._id, params=params)

    def epoch(self, row: Mapping[str, float]) -> None:
        """A metric of each column, the epoch as its step; what was told already is not repeated."""
        if int(row["epoch"]) <= self._last:
            return
        self._log({title: row[name] for name, title in SCALARS.items()}, int(row["epoch"]))

    def end(self, status: str, metrics: Mapping[str, float]) -> None:
        """The run's results, and its state."""
        if status == "complete":
            self._log(metrics, 0)
        self._client.set_terminated(self._id, self.STATES[status])

    def as_record(self) -> dict[str, Any]:
        """Store and id of MLflow's run."""
        return {"name": "mlflow", "store": self._where, "id": self._id}

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()]
        )


TRACKERS: dict[str, Callable[[RunConfig, Path, dict[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
