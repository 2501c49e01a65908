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

import variants
from bench.config.options import MOVABLE, RunConfig
from bench.models import build
from bench.records import new_run_folder, write_record
from bench.runner.context import Sweep, TrainCommand
from bench.runner.outcome import (
    accumulation_warning,
    count_costs,
    training_record,
    write_guide_files,
)
from bench.runner.record import count_into, explain, go_on, new_record, now, time_into
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


def run_variant(
    sweep: Sweep, variant: variants.Variant, begun: tuple[Path, dict[str, Any]] | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train and count a variant; its folder and record. A failure is a record too.

    Args:
        sweep: what it shares with others.
        variant: what is trained.
        begun: folder and record of the run where it was broken off; none: it has yet to begin.

    Raises:
        TrainingInterrupted: the sweep's stopper said so; the record says ``running``.
        ProcessGroupError: a process of several has failed alone; the record says why.
    """
    sweep = attrs.evolve(sweep, costs=StageTimer(begun[1]["costs"] if begun else None))
    config = sweep.config
    about = {"id": sweep.id, "command": sweep.command, "preset": sweep.resolved.preset}
    record = new_record(
        variant,
        config,
        sweep=about,
        sources=sweep.resolved.sources,
        data=sweep.data,
        device=sweep.device,
    )
    record["warnings"] += [*sweep.resolved.warnings, *sweep.parts.warnings]
    folder = config.results_dir if begun is None else begun[0]
    try:
        if begun is None:
            folder = new_run_folder(folder, variant.name, datetime.now(), record)
            sweep.on_folder(variant.name, folder)
        else:
            record = go_on(begun[1], record, continued=(folder / LAST).exists())
            write_record(folder, record)
    except OSError as error:
        _fail(record, error)
        return folder, record
    tracking = Tracking(record)
    try:
        time_into(record, variant.name, sweep.timed)
        with sweep.costs.of("counting"):
            count_into(record, variant, sweep.parts.num_classes, config)
        _train(sweep, variant, folder, record, tracking)
        with sweep.costs.of("figures and files"):
            write_guide_files(sweep, folder, record)
        record["status"] = "complete"
    except TrainingInterrupted:
        sweep.team.end()
        tracking.end()
        _note_costs(sweep, record)
        _leave(folder, record)
        raise
    except Exception as error:
        if isinstance(error, DivergedError):
            sweep.team.end()  # in all processes alike
        cause = sweep.team.cause(error) if sweep.team.busy else error
        told = isinstance(cause, ProcessGroupError) and not isinstance(cause, PeerLost)
        interrupted = sweep.stopper.number is not None and not told
        if interrupted and not isinstance(error, OSError):
            # A signal to all processes ends those that load images first.
            tracking.end()
            _note_costs(sweep, record)
            _leave(folder, record)
            raise TrainingInterrupted(sweep.stopper.number) from error
        _fail(record, cause)
    tracking.end()
    record["finished"] = now()
    record["environment"]["load_after"] = others_load()
    _note_costs(sweep, record)
    _keep(folder, record)
    if sweep.team.busy:
        # The others are somewhere in the middle of what has failed here.
        raise ProcessGroupError(f"{variant.name}: {record['error']['message']}")
    if record["status"] == "complete":
        # Three times the room of the best weights, and of no more use.
        (folder / LAST).unlink(missing_ok=True)
        (folder / UNUSED).unlink(missing_ok=True)
    return folder, record


def _fail(record: dict[str, Any], error: BaseException) -> None:
    record["status"] = "failed"
    record["error"] = {
        "type": type(error).__name__,
        "message": explain(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _leave(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a run that can go on; the one on disk says that already."""
    with contextlib.suppress(OSError):
        write_record(folder, record)


def _keep(folder: Path, record: dict[str, Any]) -> None:
    """Write the record. Where that fails, what is on disk says ``running``: it can be gone on."""
    try:
        write_record(folder, record)
    except OSError as error:
        record["status"] = "failed"
        record["error"] = record["error"] or {
            "type": type(error).__name__,
            "message": f"the record could not be written: {explain(error)}",
            "traceback": traceback.format_exc(),
        }


def _note_costs(sweep: Sweep, record: dict[str, Any]) -> None:
    record["costs"] = sweep.costs.as_record()
    record["warnings"] = list(dict.fromkeys(record["warnings"]))


# --- the stages ------------------------------------------------------------------------------


def _train(
    sweep: Sweep,
    variant: variants.Variant,
    folder: Path,
    record: dict[str, Any],
    tracking: Tracking,
) -> None:
    config, parts, device = sweep.config, sweep.parts, sweep.device
    with sweep.costs.of("building"):
        model, initial = build.build(variant, parts.num_classes, config)
    mean, std = build.normalisation(model)
    noted = [] if sweep.features is None else list(sweep.features.notes)
    last = folder / LAST
    recipe = _recipe(sweep, variant)
    before = _before(last, recipe, record)
    _track(tracking, config, folder, record)
    sweep.team.begin(TrainCommand.of(sweep, variant, before))
    with sweep.costs.of("tuning"):
        setup = set_up(sweep, variant, model, (mean, std), record["warnings"], before=before)
    told = len(sweep.accumulation.notes)
    # A training that goes on has its own number, and processes of a team find one together.
    if before is None and sweep.team.size == 1:
        sweep.accumulation.look()
    memory = PeakMemory(device)
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
        sweep.stream,
        expected_s=sweep.expected_s,
        later_s=sweep.later_s,
        on_epoch=tracking.epoch,
    )
    result, on_test = fit_and_test(
        sweep, model, setup, progress, folder, about=about, recipe={**recipe, **setup.lasting}
    )
    sweep.team.end()
    # Those of earlier runs are in their own records.
    record["warnings"] += sweep.accumulation.notes[told:]
    count_costs(sweep, result)
    if sweep.features is not None:
        record["warnings"] += [note for note in sweep.features.notes if note not in noted]
    record["training"] = training_record(sweep, result, initial, memory, setup, model)
    record["warnings"] += accumulation_warning(record["training"], config.batch_size)
    names = parts.index.paths
    record["validation"] = result.best.as_record([names[p] for p in parts.used.valid])
    if on_test is not None:
        record["test"] = on_test.as_record([names[p] for p in parts.used.test])


def fit_and_test(
    sweep: Sweep,
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
        sweep: what the run shares with others.
        model: of the variant.
        setup: how it is trained.
        progress: shows where the training is.
        folder: of the run.
        about: what the file of the best weights says.
        recipe: what must be the same when the training goes on.
    """
    torch.manual_seed(sweep.config.seed)
    result = train(
        model,
        Feed(setup.loaders, setup.prepare, setup.forward, setup.evaluating),
        sweep.config,
        TrainContext(
            device=sweep.device,
            progress=progress,
            stopper=sweep.stopper,
            accumulation=sweep.accumulation,
            team=sweep.team,
        ),
        CheckpointFiles(best=folder / BEST, about=about, last=folder / LAST, recipe=recipe),
    )
    if not sweep.parts.used.test:
        return result, None
    with sweep.costs.of("test part"):
        on_test = evaluate(
            model,
            setup.loaders["test"],
            sweep.device,
            prepare=setup.prepare,
            forward=setup.evaluating,
            amp=result.amp,
            team=sweep.team,
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


def _recipe(sweep: Sweep, variant: variants.Variant) -> dict[str, Any]:
    """What must be the same when the training goes on, beside ``Setup.lasting``."""
    kept = {
        name: value
        for name, value in sweep.config.as_record().items()
        if name not in MOVABLE and name not in ("seeds", "folds")
    }
    return {
        "device": sweep.device.type,
        "amp": choose_amp(sweep.config.amp, sweep.device),
        "variant": variant.name,
        "variant_version": variant.version,
        "fold": sweep.run.fold,
        "fingerprint": sweep.parts.index.fingerprint,
        "options": kept,
    }
