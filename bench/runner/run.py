"""One run of a variant, from its declaration to its record: count, train, write."""

from __future__ import annotations

import contextlib
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import RunConfig, options
from bench.models import build
from bench.records import new_run_folder, write_record
from bench.runner.context import Outcome, ProcessContext, RunSpec, TrainCommand
from bench.runner.outcome import (
    accumulation_warning,
    count_costs,
    training_record,
    write_guide_files,
)
from bench.runner.record import count_into, explain, go_on, now, time_into
from bench.runner.setup import Setup, set_up
from bench.runner.trackers import Tracking
from bench.system.environment import others_load
from bench.system.memory import PeakMemory
from bench.system.progress import Progress
from bench.system.signals import TrainingInterrupted
from bench.system.stage_timer import StageTimer
from bench.train.checkpoint import CheckpointFiles
from bench.train.distributed import PeerLost, ProcessGroupError
from bench.train.evaluate import Evaluation, evaluate
from bench.train.loop import DivergedError, Feed, TrainContext, TrainResult, train
from bench.train.optim import choose_amp
from bench.train.state import FILE as LAST
from bench.train.state import UnusableStateError, about_of, check_about

# A state of another training, put aside.
UNUSED = "last.unused.pt"
BEST = "best_model.pt"


def run_variant(spec: RunSpec, process: ProcessContext) -> Outcome:
    """Train and count a variant; its folder and record. A failure is a record too.

    Args:
        spec: what is trained, and where it was broken off.
        process: what it shares with the other runs of this process.

    Raises:
        TrainingInterrupted: the process's stopper said so; the record says ``running``.
        ProcessGroupError: a process of several has failed alone; the record says why.
    """
    spec = attrs.evolve(spec, costs=StageTimer(spec.begun[1]["costs"] if spec.begun else None))
    record = spec.new_record(process.device)
    record["warnings"] += [*spec.sweep.resolved.warnings, *spec.parts.warnings]
    folder = spec.config.results_dir if spec.begun is None else spec.begun[0]
    try:
        if spec.begun is None:
            folder = new_run_folder(folder, spec.variant.name, datetime.now(), record)
            process.on_folder(spec.variant.name, folder)
        else:
            record = go_on(spec.begun[1], record, continued=(folder / LAST).exists())
            write_record(folder, record)
    except OSError as error:
        _fail(record, error)
        return folder, record
    tracking = Tracking(record)
    try:
        time_into(record, spec.variant.name, spec.sweep.timed)
        with spec.costs.of("counting"):
            count_into(record, spec.variant, spec.parts.num_classes, spec.config)
        _train(spec, process, folder, record, tracking)
        with spec.costs.of("figures and files"):
            write_guide_files(spec.config, process.device, folder, record)
        record["status"] = "complete"
    except Exception as error:
        cause = _cause(error, process)
        if isinstance(cause, TrainingInterrupted):
            tracking.end()
            _note_costs(spec, record)
            with contextlib.suppress(OSError):  # the one on disk says that it can go on already
                write_record(folder, record)
            raise cause from (None if cause is error else error)
        _fail(record, cause)
    tracking.end()
    record["finished"] = now()
    record["environment"]["load_after"] = others_load()
    _note_costs(spec, record)
    _keep(folder, record)
    if process.team.busy:
        # The others are somewhere in the middle of what has failed here.
        raise ProcessGroupError(f"{spec.variant.name}: {record['error']['message']}")
    if record["status"] == "complete":
        # Three times the room of the best weights, and of no more use.
        (folder / LAST).unlink(missing_ok=True)
        (folder / UNUSED).unlink(missing_ok=True)
    return folder, record


def _cause(error: Exception, process: ProcessContext) -> BaseException:
    """Why a run ended: an interruption, its own error, or what another process of the team said."""
    team, number = process.team, process.stopper.number
    if isinstance(error, (TrainingInterrupted, DivergedError)):
        team.end()  # in all processes alike
    if isinstance(error, TrainingInterrupted):
        return error
    cause = team.cause(error) if team.busy else error
    named = isinstance(cause, ProcessGroupError) and not isinstance(cause, PeerLost)
    interrupted = number is not None and not named
    if interrupted and not isinstance(error, OSError):
        # A signal to all processes ends those that load images first.
        return TrainingInterrupted(number)
    return cause


def _fail(record: dict[str, Any], error: BaseException, what: str = "") -> None:
    record["status"] = "failed"
    record["error"] = {
        "type": type(error).__name__,
        "message": f"{what}{explain(error)}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def _keep(folder: Path, record: dict[str, Any]) -> None:
    """Write the record. Where that fails, what is on disk says ``running``: it can be gone on."""
    try:
        write_record(folder, record)
    except OSError as error:
        failure = record["error"]
        _fail(record, error, "the record could not be written: ")
        record["error"] = failure or record["error"]


def _note_costs(spec: RunSpec, record: dict[str, Any]) -> None:
    record["costs"] = spec.costs.as_record()
    record["warnings"] = list(dict.fromkeys(record["warnings"]))


# --- the stages ------------------------------------------------------------------------------


def _train(
    spec: RunSpec,
    process: ProcessContext,
    folder: Path,
    record: dict[str, Any],
    tracking: Tracking,
) -> None:
    config, variant, parts, costs = spec.config, spec.variant, spec.parts, spec.costs
    team, accumulation = process.team, process.accumulation
    with costs.of("building"):
        model, initial = build.build(variant, parts.num_classes, config)
    mean, std = build.normalisation(model)
    notes = [] if process.features is None else process.features.notes
    noted = list(notes)
    recipe = _recipe(spec, process.device)
    before = _before(folder / LAST, recipe, record)
    _track(tracking, config, folder, record)
    team.begin(TrainCommand(spec, accumulation.parts, before))
    with costs.of("tuning"):
        setup = set_up(spec, process, model, (mean, std), record["warnings"], before=before)
    earlier = len(accumulation.notes)
    # A training that goes on has its own number, and processes of a team find one together.
    if before is None and team.size == 1:
        accumulation.look()
    memory = PeakMemory(process.device)
    about = {
        "variant": variant.name,
        "variant_version": variant.version,
        "reduction": config.reduction,
        "classes": list(parts.index.classes),
        "image_size": config.image_size,
        "mean": list(mean),
        "std": list(std),
    }
    progress = Progress(
        variant.name,
        config.epochs,
        expected_s=spec.expected_s,
        later_s=spec.later_s,
        on_epoch=tracking.epoch,
    )
    recipe |= setup.lasting
    result, on_test = fit_and_test(
        spec, process, model, setup, progress, folder, about=about, recipe=recipe
    )
    team.end()
    # Those of earlier runs are in their own records.
    record["warnings"] += accumulation.notes[earlier:]
    count_costs(spec, result)
    record["warnings"] += [note for note in notes if note not in noted]
    record["training"] = training_record(spec, process, result, initial, memory, setup, model)
    record["warnings"] += accumulation_warning(record["training"], config.batch_size)
    names = parts.index.paths
    record["validation"] = result.best.as_record([names[p] for p in parts.used.valid])
    if on_test is not None:
        record["test"] = on_test.as_record([names[p] for p in parts.used.test])


def fit_and_test(
    spec: RunSpec,
    process: ProcessContext,
    model: nn.Module,
    setup: Setup,
    progress: Progress,
    folder: Path,
    *,
    about: dict[str, Any],
    recipe: dict[str, Any],
) -> tuple[TrainResult, Evaluation | None]:
    """Train, and evaluate the best epoch on the test part where there is one.

    What all processes of a team do together; ``Args`` as :func:`bench.train.loop.train`.

    Args:
        spec: of the run.
        process: what the run shares with others.
        model: of the variant.
        setup: how it is trained.
        progress: shows where the training is.
        folder: of the run.
        about: what the file of the best weights says.
        recipe: what must be the same when the training goes on.
    """
    torch.manual_seed(spec.config.seed)
    result = train(
        model,
        Feed(setup.loaders, setup.prepare, setup.forward, setup.evaluating),
        spec.config,
        TrainContext(
            device=process.device,
            progress=progress,
            stopper=process.stopper,
            accumulation=process.accumulation,
            team=process.team,
        ),
        CheckpointFiles(best=folder / BEST, about=about, last=folder / LAST, recipe=recipe),
    )
    if not spec.parts.used.test:
        return result, None
    with spec.costs.of("test part"):
        on_test = evaluate(
            model,
            setup.loaders["test"],
            process.device,
            prepare=setup.prepare,
            forward=setup.evaluating,
            amp=result.amp,
            team=process.team,
        )
    return result, on_test


def _track(tracking: Tracking, config: RunConfig, folder: Path, record: dict[str, Any]) -> None:
    """Begin to tell the tracker; the record on disk says of what, should the process be killed."""
    tracking.begin(config, folder)
    if record["tracker"] is not None:
        write_record(folder, record)


def _before(last: Path, recipe: dict[str, Any], record: dict[str, Any]) -> dict[str, Any] | None:
    """What was chosen when the training began that now goes on; none: it begins.

    What cannot be gone on from is put aside, and the record says so.
    """
    if not last.exists():
        return None
    try:
        about = about_of(last)
        check_about(about, recipe)
        return about
    except UnusableStateError as error:
        record["warnings"].append(f"{LAST} could not be gone on from: {error}: trained anew")
        record["environment"] = record["resumed"][-1]["environment"]
        record["tracker"] = None  # what it was told is of another training
        last.replace(last.with_name(UNUSED))
        for name in (BEST, f"{BEST}.new"):
            last.with_name(name).unlink(missing_ok=True)
        return None


def _recipe(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """What must be the same when the training goes on, beside ``Setup.lasting``."""
    config, variant = spec.config, spec.variant
    return {
        "device": device.type,
        "amp": choose_amp(config.amp, device),
        "variant": variant.name,
        "variant_version": variant.version,
        "fold": spec.run.fold,
        "fingerprint": spec.parts.index.fingerprint,
        "options": {
            field.name: config.as_record()[field.name]
            for field in options()
            if not field.metadata["movable"] and field.name not in ("seeds", "folds")
        },
    }
