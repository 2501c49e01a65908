"""Contenders that train one model in turn, a fresh process for each and every repetition."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from experiments.commands import environment
from experiments.pictures import pictures
from experiments.suite import Json, Part, trace

OURS, FIXED, TIMM, BEST = "ours", "fixed batch", "timm", "timm, best settings"
# Ours in the environment that timm's best settings need, and the fixed batch once more (A/A).
OURS_TOO, FIXED_TOO = "ours, allocator environment", "fixed batch again"
# They get the allocator's settings in their environment.
WITH_ALLOCATOR = (OURS_TOO, BEST)
VALID_IMAGES = 10


def entry(variant: str, batch_size: int, images: int) -> Json:
    """A model in a race: its variant, batch, and images of an epoch (a multiple of the batch)."""
    return {"variant": variant, "batch_size": batch_size, "images": images}


# What a quick race changes.
QUICK_RACE = {"repetitions": 1, "image_size": 32, "entries": [entry("MobileNetV3_Small", 16, 64)]}


class Worker(contextlib.AbstractContextManager["Worker"]):
    """A contender's process (:mod:`experiments.contenders.worker`), seen from outside.

    It trains one epoch whenever it is told to. A process that lives through all rounds keeps what
    its procedure keeps: caches, loader processes, a warm allocator. Between its epochs it sleeps
    while another contender has the machine.

    Args:
        kind: which contender it is.
        job: what it is given at its start, as JSON types.
    """

    def __init__(self, kind: str, job: Mapping[str, Any]) -> None:
        self.kind = kind
        self.begun = time.perf_counter()
        self._folder = tempfile.TemporaryDirectory(prefix="paddy-bench-speed-")
        self._errors = Path(self._folder.name, "stderr.txt")
        cache = Path(self._folder.name, "cache")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "experiments.contenders.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(cache=cache, allocator=kind in WITH_ALLOCATOR),
            )
        self._say(json.dumps({**job, "kind": kind, "channels_last": kind == BEST}))

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def ready(self) -> None:
        """Return when everything is imported and the model is built.

        Raises:
            BenchError: the process ended.
        """
        self._answer()

    def epoch(self) -> Json:
        """Let it train one epoch; ``seconds``, ``images`` and whatever else it says.

        Raises:
            BenchError: the process ended.
        """
        self._say("epoch")
        return self._answer()

    def _say(self, line: str) -> None:
        # Where it has ended already, its last line says why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self) -> Json:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        text = self._errors.read_text(encoding="utf8", errors="replace").strip()
        last = (text.splitlines() or ["no message"])[-1]
        raise BenchError(f"the process “{self.kind}” ended with {code}: {last}")


def job_of(model: Mapping[str, Any], image_size: int, trial: bool = False) -> Json:
    """The job of an entry; in a trial it has one thread, which suffers less from others."""
    data_dir = pictures({"train": model["images"], "valid": VALID_IMAGES})
    options = {"threads": 1 if trial else None}
    return {**model, "image_size": image_size, "data_dir": str(data_dir), "options": options}


def race(
    model: Mapping[str, Any], contenders: Sequence[str], chosen: Mapping[str, Any], part: Part
) -> Json:
    """Train by each contender, in fresh processes at each repetition: one sample is one process.

    A process trains a cold epoch, which warms it up, then steady ones. Contenders take turns epoch
    by epoch, in an order that is drawn anew each time.

    Args:
        model: the :func:`entry` that is trained.
        contenders: names; the fixed batch takes the memory format of ours.
        chosen: ``image_size``; ``repetitions``: processes of each contender; ``steady_epochs``
            after the cold one; whether it is a ``quick`` trial.
        part: where repetitions are kept, and found again.

    Returns:
        ``seconds`` of every epoch by contender and repetition, the cold one first; the ``order`` of
        the steady epochs; ``images`` of an epoch, ``variant``, ``batch_size``, ``memory_format``,
        ``faults`` of a step (minor page faults).
    """
    repetitions = chosen["repetitions"]
    job = job_of(model, chosen["image_size"], trial=chosen["quick"])
    outcome: Json = part.done.get(model["variant"]) or {
        **model,
        "memory_format": "channels_last",
        "seconds": {name: [] for name in contenders},
        "faults": {name: [] for name in contenders},
        "order": [],
    }
    for number in range(len(outcome["seconds"][contenders[0]]), repetitions):
        # What breaks off is not in what is kept.
        outcome = copy.deepcopy(outcome)
        # A race that goes on draws the orders that it would have drawn.
        chance = random.Random(f"0-{number}")
        _repeat(job, contenders, outcome, chosen["steady_epochs"], chance)
        part.add(model["variant"], outcome)
        trace(f"{model['variant']}: repetition {number + 1} of {repetitions}")
    return outcome


def race_all(contenders: Sequence[str], chosen: Mapping[str, Any], part: Part) -> Json:
    """Race all the entries that are chosen."""
    return {"outcome": [race(model, contenders, chosen, part) for model in chosen["entries"]]}


def _repeat(
    job: Mapping[str, Any],
    contenders: Sequence[str],
    outcome: Json,
    steady_epochs: int,
    chance: random.Random,
) -> None:
    fixed = [name for name in contenders if name in (FIXED, FIXED_TOO)]
    workers: dict[str, Worker] = {}

    def epoch(name: str) -> None:
        answer, images = workers[name].epoch(), job["images"]
        # A contender that leaves images out would be compared with those that do not.
        if answer["images"] != images:
            raise BenchError(f"{name} trained on {answer['images']} images of {images} an epoch")
        outcome["seconds"][name][-1].append(answer["seconds"])
        outcome["faults"][name][-1].append(answer["faults"] / (images / job["batch_size"]))
        for key in ("memory_format", "workers", "forward"):
            outcome[key] = answer.get(key, outcome.get(key))

    with contextlib.ExitStack() as stack:
        for wave in ([name for name in contenders if name not in fixed], fixed):
            for name in wave:
                outcome["seconds"][name].append([])
                outcome["faults"][name].append([])
                of_ours = {"memory_format": outcome["memory_format"]}
                workers[name] = stack.enter_context(Worker(name, job | of_ours))
            # Imports run side by side; every one has ended before an epoch begins.
            for name in wave:
                workers[name].ready()
            for name in wave:
                epoch(name)
        for _ in range(steady_epochs):
            order = chance.sample(contenders, len(contenders))
            outcome["order"].append(order)
            for name in order:
                epoch(name)


def steady(outcome: Mapping[str, Any], contender: str) -> list[float]:
    """Seconds of an epoch, of each of a contender's processes: the mean of its steady ones."""
    return [statistics.mean(epochs[1:]) for epochs in outcome["seconds"][contender]]
