"""Times the variants of a sweep together, then trains each; a failure is a row."""

from __future__ import annotations

import contextlib
import gc
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import torch

import variants
from bench.config.options import RunConfig
from bench.config.presets import Resolved
from bench.data.cache import DecodedImages
from bench.data.parts import decode_images
from bench.errors import BenchError, error_line
from bench.records import tidy
from bench.runner.context import Run, Sweep, all_positions
from bench.runner.executor import make_jobs
from bench.runner.manifest import Manifest, keep_images, lock_of
from bench.runner.outcome import time_afterwards
from bench.runner.preflight import PreflightResult
from bench.runner.queue import CompletedRuns, RunSpec, completed_runs, train_in_turn
from bench.runner.queue import Outcome as Trained
from bench.runner.record import explain, now
from bench.runner.remote_store import put
from bench.runner.timing import time_stage
from bench.runner.trackers import open_store
from bench.system.environment import usable_cores
from bench.system.locks import HeldError, locked
from bench.system.memory import keep_freed_memory
from bench.system.paths import scratch_folder
from bench.system.progress import progress_bar
from bench.system.signals import StopRequest
from bench.system.stage_timer import StageTimer
from bench.timing.tuning import Choice, choose
from bench.train.accumulate import Accumulation, shared_file
from bench.train.distributed import ProcessGroup
from bench.train.feature_store import FeatureStore

logger = logging.getLogger(__name__)


@attrs.frozen
class Outcome:
    """A sweep's id, folder and record of each of its runs in order, and where the time went."""

    id: str
    runs: list[tuple[Path, dict[str, Any]]]
    costs: StageTimer = attrs.field(factory=StageTimer)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Records of the runs that failed."""
        return [record for _, record in self.runs if record["status"] != "complete"]


def new_sweep_id(now: datetime) -> str:
    """Sortable by time, unique among sweeps that start in one second."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_sweep(
    chosen: Sequence[variants.Variant],
    resolved: Resolved,
    checked: PreflightResult,
    *,
    command: str,
    plugins: list[Path],
    journal: Manifest | None = None,
    stopper: StopRequest | None = None,
    team: ProcessGroup | None = None,
) -> Outcome:
    """Time all variants together, decode the images once, then train each at each seed and fold.

    Args:
        chosen: the variants, in order.
        resolved: the options and where they came from.
        checked: what the check found: device, images of each run, plan of the timing session.
        command: the command line, for the records.
        plugins: files that register variants, for the timing processes.
        journal: of the sweep that goes on; none: a new one begins.
        stopper: says whether to stop before the end.
        team: the processes that train each model together, which this one leads; none: this one.

    Raises:
        TrainingInterrupted: the stopper said so; what is finished is on disk, the rest can go on.
        ProcessGroupError: a process of several has failed alone; as above.
        BenchError: too little disk for the decoded images, or too few readable ones.
    """
    keep_freed_memory()
    # Imports leave a million objects that live to the end: no collection need look at them again.
    gc.freeze()
    config = resolved.config
    team = team or ProcessGroup()
    threads = config.threads or max(1, usable_cores() // team.local_size)
    torch.set_num_threads(threads)
    new, parts = journal is None, checked.runs[0].parts
    index, contents = parts.index, parts.copies.contents
    if journal is None:
        journal = Manifest(
            id=new_sweep_id(datetime.now()),
            command=command,
            resolved=resolved,
            variants={variant.name: variant.version for variant in chosen},
            plugins=tuple(plugins),
            fingerprint=index.fingerprint,
            fingerprint_version=index.fingerprint_version,
        )
    with contextlib.ExitStack() as stack:
        try:
            config.results_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock_of(config.results_dir, journal.id)))
            if new:
                # First: what a kill leaves is then of a sweep that goes on, which tidies up.
                journal.write(config.results_dir)
                if contents is not None:
                    keep_images(config.results_dir, journal.id, index, contents)
            else:
                tidy(config.results_dir, journal.id)
        except HeldError as error:
            raise BenchError(
                f"sweep {journal.id} is still running in another process: wait for its end"
            ) from error
        except OSError as error:
            raise BenchError(f"--results-dir {config.results_dir}: {explain(error)}") from error
        open_store(config)
        return _carry_out(
            journal,
            chosen,
            resolved,
            checked,
            plugins,
            stopper or StopRequest(),
            threads,
            team,
        )


def _carry_out(
    journal: Manifest,
    chosen: Sequence[variants.Variant],
    resolved: Resolved,
    checked: PreflightResult,
    plugins: list[Path],
    stopper: StopRequest,
    threads: int,
    team: ProcessGroup,
) -> Outcome:
    config = resolved.config
    estimating = checked.estimating_s
    costs = StageTimer({"checking": checked.seconds - estimating, "estimating": estimating})
    with costs.of("decoding"):
        images = _decode(checked, config)
    timed = None
    # Others may train on this machine too: what is timed is timed when they have ended.
    first = config.executor == "local"
    if first:
        with costs.of("timing"):
            timed, journal = time_stage(chosen, checked, config, images, plugins, journal, stopper)
    with scratch_folder() as folder:
        # Pictures and features share the limit.
        left = max(0.0, config.cache_limit - images.describe()["bytes"])
        shared = Sweep(
            id=journal.id,
            command=journal.command,
            resolved=resolved,
            device=checked.device,
            run=checked.runs[0],
            data={},
            images=images,
            timed=timed,
            rates=checked.rates,
            features=FeatureStore(folder, left) if team.size == 1 else None,
            stopper=stopper,
            team=team,
        )
        known = completed_runs(config.results_dir, journal.id)
        with costs.of("tuning"):
            journal = _tune(chosen, checked, config, journal, known, stopper, team.size)
        choices = {name: Choice(**values) for name, values in journal.tuned.items()}
        shared = attrs.evolve(shared, tuned=choices)
        most_parts = known.most_parts if team.size == 1 else 1
        parts = Accumulation(most_parts, shared=shared_file(config.results_dir, journal.id))
        parts.tell()
        shared = attrs.evolve(shared, accumulation=parts)
        epochs = {item.variant: item.epoch_s for item in checked.estimates}
        minutes = {item.variant: item.minutes / len(checked.runs) for item in checked.estimates}
        planned = [
            RunSpec(
                sweep,
                variant,
                _label(sweep.run, checked.runs),
                epoch_s=epochs.get(variant.name, 0.0),
                expected_s=60 * minutes.get(variant.name, 0.0),
                **known.of(variant.name, sweep.run),
            )
            for sweep in [_of_run(shared, run, images) for run in checked.runs]
            for variant in chosen
        ]
        if len(checked.devices) > 1 or config.executor != "local":
            done = _train_at_once(planned, checked, plugins, threads, folder, left)
        else:
            done = _train_in_turn(planned)
    if not first:
        with costs.of("timing"):
            timed, journal = time_stage(chosen, checked, config, images, plugins, journal, stopper)
            for folder in time_afterwards(done, timed):
                _gather(folder, planned[0].sweep)
    for _, record in done:
        costs.include(record["costs"])
    outcome = Outcome(journal.id, done, costs)
    # What failed can be tried again: a full disk may be mended, a lost folder found.
    if not outcome.failed:
        try:
            attrs.evolve(journal, ended=now()).write(config.results_dir)
            parts.forget()
        except OSError as error:
            logger.warning(f"sweep {journal.id} ended, but: {explain(error)}")
    return outcome


def _tune(
    chosen: Sequence[variants.Variant],
    checked: PreflightResult,
    config: RunConfig,
    journal: Manifest,
    known: CompletedRuns,
    stopper: StopRequest,
    processes: int,
) -> Manifest:
    """With ``--tune auto`` how each variant is trained, kept before the next one is measured."""
    if config.tune == "off":
        return journal
    threads, parts = torch.get_num_threads(), checked.runs[0].parts
    for variant in chosen:
        if variant.name in journal.tuned:
            continue
        stopper.check()
        choice = known.tuned(variant.name)
        if choice is None:
            measured = choose(
                variant,
                config,
                num_classes=parts.num_classes,
                train_images=len(parts.used.train),
                device=checked.device,
                processes=processes,
            )
            choice = attrs.asdict(measured)
        tuned = {**journal.tuned, variant.name: choice}
        journal = attrs.evolve(journal, tuned=tuned)
        journal.write(config.results_dir)
        form, forward = choice["memory_format"].replace("_", "-"), choice["forward"]["chosen"]
        logger.info(f"tuning: {variant.name}: {form}, {forward}")
    torch.set_num_threads(threads)
    return journal


def _of_run(shared: Sweep, run: Run, images: DecodedImages) -> Sweep:
    readable = attrs.evolve(run, parts=run.parts.without(images))
    return attrs.evolve(shared, run=readable, data=readable.parts.as_record(images))


def _train_in_turn(planned: Sequence[RunSpec]) -> list[Trained]:
    def begun(number: int) -> None:
        one = planned[number]
        logger.info(f"[{number + 1}/{len(planned)}] {one.variant.name}{one.label}")

    def done(number: int, outcome: Trained) -> None:
        _gather(outcome[0], planned[number].sweep)
        _tell_failure(outcome[1], planned[number].label)

    with planned[0].sweep.stopper.holding():
        return train_in_turn(planned, begun=begun, done=done)


def _train_at_once(
    planned: Sequence[RunSpec],
    checked: PreflightResult,
    plugins: Sequence[Path],
    threads: int,
    features: Path,
    features_limit: float,
) -> list[Trained]:
    """One process for each device."""
    minutes = {item.variant: item.minutes for item in checked.estimates}
    config = planned[0].sweep.config
    found = {number: one.ended for number, one in enumerate(planned) if one.ended is not None}
    left = [number for number in range(len(planned)) if number not in found]
    jobs = make_jobs(
        [planned[number] for number in left],
        [60 * minutes.get(planned[number].variant.name, 0.0) for number in left],
        frozen=config.freeze_backbone,
    )
    for number, outcome in checked.executor.train(
        jobs,
        checked.devices,
        plugins=plugins,
        threads=max(1, threads // len(checked.devices)),
        features=features,
        features_limit=features_limit,
        stopper=planned[0].sweep.stopper,
    ):
        found[left[number]] = outcome
        one = planned[left[number]]
        logger.info(f"[{len(found)}/{len(planned)}] {one.variant.name}{one.label} done")
        _gather(outcome[0], one.sweep)
        _tell_failure(outcome[1], one.label)
    return [found[number] for number in range(len(planned))]


def _gather(folder: Path, sweep: Sweep) -> None:
    """Copy a run to ``--gather``. Where that fails the run is still here, and the sweep goes on."""
    url = sweep.config.gather
    if url is None:
        return
    try:
        put(folder, url)
    except Exception as error:  # every filesystem has errors of its own
        reason = f"{type(error).__name__}: {error_line(error)}"
        logger.warning(f"{folder} could not be copied to {url} ({reason})")


def _tell_failure(record: dict[str, Any], label: str) -> None:
    error = record["error"]
    if error:
        name = record["variant"]["name"]
        logger.error(f"failed: {name}{label}: {error['type']}: {error['message']}")


def _label(run: Run, runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return ""
    fold = "" if run.fold is None else f" fold {run.fold + 1}"
    return f", seed {run.seed}{fold}"


def _decode(checked: PreflightResult, config: RunConfig) -> DecodedImages:
    """Every image that a run uses, decoded once or found in the cache."""
    positions = all_positions(checked.runs)
    with progress_bar(total=len(positions), desc="decoding", unit="image") as bar:
        images = decode_images(
            checked.runs[0].parts.index,
            positions,
            config,
            workers=usable_cores(),
            on_progress=lambda done, _: bar.update(done - bar.n),
            say=logger.info,
        )
    for path, reason in images.unreadable:
        logger.warning(f"unreadable image, not used: {path} ({reason})")
    for run in checked.runs:
        run.parts.without(images)  # raises before anything is timed or trained
    return images
