"""Times the variants of a sweep together, then trains each; a failure is a row."""

from __future__ import annotations

import contextlib
import gc
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import torch

import variants
from bench.config.options import RunConfig
from bench.config.presets import Resolved
from bench.data.cache import DecodedImages
from bench.data.parts import DataSplits, decode_images
from bench.errors import BenchError, error_line
from bench.records import tidy
from bench.runner.context import Outcome as Trained
from bench.runner.context import ProcessContext, Run, RunSpec, SweepContext, all_positions
from bench.runner.executor import Resources, make_jobs
from bench.runner.manifest import Manifest, keep_images, lock_of
from bench.runner.outcome import time_afterwards
from bench.runner.preflight import PreflightResult
from bench.runner.queue import CompletedRuns, completed_runs, train_in_turn
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
from bench.timing.session import Timed
from bench.timing.tuning import Choice, choose
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
    config, parts = resolved.config, checked.runs[0].parts
    team = team or ProcessGroup()
    threads = config.threads or max(1, usable_cores() // team.local_size)
    torch.set_num_threads(threads)
    new = journal is None
    journal = journal or Manifest(
        id=new_sweep_id(datetime.now()),
        command=command,
        resolved=resolved,
        variants={variant.name: variant.version for variant in chosen},
        plugins=tuple(plugins),
        fingerprint=parts.index.fingerprint,
        fingerprint_version=parts.index.fingerprint_version,
    )
    stopper = stopper or StopRequest()
    driver = _Driver(chosen, resolved, checked, plugins, stopper, team, threads, journal)
    with _opened(journal, config.results_dir, parts, new=new):
        open_store(config)
        return driver.carry_out()


@contextlib.contextmanager
def _opened(
    journal: Manifest, results_dir: Path, parts: DataSplits, *, new: bool
) -> Iterator[None]:
    """Hold the lock of a sweep; write the files that it goes on from, or tidy up what it left.

    Raises:
        BenchError: another process holds it, or they cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock_of(results_dir, journal.id)))
            if not new:
                tidy(results_dir, journal.id)
            else:
                # First: what a kill leaves is then of a sweep that goes on, which tidies up.
                journal.write(results_dir)
                if parts.copies.contents is not None:
                    keep_images(results_dir, journal.id, parts.index, parts.copies.contents)
        except HeldError as error:
            raise BenchError(
                f"sweep {journal.id} is still running in another process: wait for its end"
            ) from error
        except OSError as error:
            raise BenchError(f"--results-dir {results_dir}: {explain(error)}") from error
        yield


@attrs.define
class _Driver:
    """Carries a sweep out, stage by stage.

    Attributes:
        threads: CPU threads of this process.
        costs: where the time goes.
        Others as the parameters of :func:`run_sweep`.
    """

    chosen: Sequence[variants.Variant]
    resolved: Resolved
    checked: PreflightResult
    plugins: list[Path]
    stopper: StopRequest
    team: ProcessGroup
    threads: int
    journal: Manifest
    costs: StageTimer = attrs.field(factory=StageTimer)

    def carry_out(self) -> Outcome:
        """Decode, time, tune, train; what has ended."""
        config, checked, alone = self.resolved.config, self.checked, self.team.size == 1
        self.costs.add("checking", checked.seconds - checked.estimating_s)
        self.costs.add("estimating", checked.estimating_s)
        with self.costs.of("decoding"):
            images = _decode(checked.runs, config)
        # Others may train on this machine too: what is timed is timed when they have ended.
        local = config.executor == "local"
        timed = self._time(images) if local else None
        with scratch_folder() as folder:
            # Pictures and features share the limit.
            limit = max(0.0, config.cache_limit - images.describe()["bytes"])
            completed = completed_runs(config.results_dir, self.journal.id)
            with self.costs.of("tuning"):
                self._tune(completed)
            sweep = SweepContext(
                id=self.journal.id,
                command=self.journal.command,
                resolved=self.resolved,
                device=checked.device,
                timed=timed,
                rates=checked.rates,
                tuned={name: Choice(**values) for name, values in self.journal.tuned.items()},
                accumulation_parts=completed.most_parts if alone else 1,
            )
            accumulation = sweep.accumulation()
            accumulation.tell()
            planned = self._plan(sweep, images, completed)
            if local and len(checked.devices) == 1:
                process = ProcessContext(
                    device=checked.device,
                    images=images,
                    stopper=self.stopper,
                    features=FeatureStore(folder, limit) if alone else None,
                    accumulation=accumulation,
                    team=self.team,
                )
                with self.stopper.holding():
                    outcomes = train_in_turn(planned, process, announce=True)
                    done = _collect(planned, outcomes, at_once=False)
            else:
                outcomes = self._train_at_once(planned, images, folder, limit)
                done = _collect(planned, outcomes, at_once=True)
        if not local:
            for folder in time_afterwards(done, self._time(images)):
                _gather(folder, config)
        for _, record in done:
            self.costs.include(record["costs"])
        outcome = Outcome(self.journal.id, done, self.costs)
        # What failed can be tried again: a full disk may be mended, a lost folder found.
        if not outcome.failed:
            try:
                attrs.evolve(self.journal, ended=now()).write(config.results_dir)
                accumulation.forget()
            except OSError as error:
                logger.warning(f"sweep {self.journal.id} ended, but: {explain(error)}")
        return outcome

    def _time(self, images: DecodedImages) -> Timed | None:
        with self.costs.of("timing"):
            timed, self.journal = time_stage(
                self.chosen,
                self.checked,
                self.resolved.config,
                images,
                self.plugins,
                self.journal,
                self.stopper,
            )
        return timed

    def _tune(self, completed: CompletedRuns) -> None:
        """With ``--tune auto`` how each variant is trained, kept before the next is measured."""
        config, parts = self.resolved.config, self.checked.runs[0].parts
        if config.tune == "off":
            return
        threads = torch.get_num_threads()
        for variant in self.chosen:
            if variant.name in self.journal.tuned:
                continue
            self.stopper.check()
            choice = completed.tuned(variant.name)
            if choice is None:
                measured = choose(
                    variant,
                    config,
                    num_classes=parts.num_classes,
                    train_images=len(parts.used.train),
                    device=self.checked.device,
                    processes=self.team.size,
                )
                choice = attrs.asdict(measured)
            tuned = {**self.journal.tuned, variant.name: choice}
            self.journal = attrs.evolve(self.journal, tuned=tuned)
            self.journal.write(config.results_dir)
            form, forward = choice["memory_format"].replace("_", "-"), choice["forward"]["chosen"]
            logger.info(f"tuning: {variant.name}: {form}, {forward}")
        torch.set_num_threads(threads)

    def _plan(
        self, sweep: SweepContext, images: DecodedImages, completed: CompletedRuns
    ) -> list[RunSpec]:
        """Every variant at each seed and fold."""
        runs = self.checked.runs
        estimates = {item.variant: item for item in self.checked.estimates}
        planned = []
        for run in runs:
            readable = run.parts.without(images)
            run = attrs.evolve(run, parts=readable, data=readable.as_record(images))
            fold = "" if run.fold is None else f" fold {run.fold + 1}"
            for variant in self.chosen:
                estimate = estimates.get(variant.name)
                begun, ended = completed.lookup(variant.name, run)
                planned.append(
                    RunSpec(
                        sweep=sweep,
                        run=run,
                        key=variant.key,
                        label="" if len(runs) == 1 else f", seed {run.seed}{fold}",
                        epoch_s=estimate.epoch_s if estimate else 0.0,
                        expected_s=60 * (estimate.minutes / len(runs)) if estimate else 0.0,
                        begun=begun,
                        ended=ended,
                    )
                )
        return planned

    def _train_at_once(
        self, planned: Sequence[RunSpec], images: DecodedImages, features: Path, limit: float
    ) -> Iterator[tuple[int, Trained]]:
        devices = self.checked.devices
        resources = Resources(
            devices=devices,
            plugins=self.plugins,
            threads=max(1, self.threads // len(devices)),
            features=features,
            features_limit=limit,
            images=images,
            stopper=self.stopper,
        )
        jobs = make_jobs(planned, frozen=self.resolved.config.freeze_backbone)
        return self.checked.executor.train(jobs, resources)


def _collect(
    planned: Sequence[RunSpec], outcomes: Iterable[tuple[int, Trained]], *, at_once: bool
) -> list[Trained]:
    """Return folder and record of each run in order; copy each that ends to ``--gather``."""
    done = {number: spec.ended for number, spec in enumerate(planned) if spec.ended is not None}
    for number, (folder, record) in outcomes:
        done[number] = folder, record
        spec = planned[number]
        name = spec.variant.name
        if at_once:
            logger.info(f"[{len(done)}/{len(planned)}] {name}{spec.label} done")
        _gather(folder, spec.sweep.config)
        if error := record["error"]:
            logger.error(f"failed: {name}{spec.label}: {error['type']}: {error['message']}")
    return [done[number] for number in range(len(planned))]


def _gather(folder: Path, config: RunConfig) -> None:
    """Copy a run to ``--gather``. Where that fails the run is still here, and the sweep goes on."""
    if config.gather is None:
        return
    try:
        put(folder, config.gather)
    except Exception as error:  # every filesystem has errors of its own
        reason = f"{type(error).__name__}: {error_line(error)}"
        logger.warning(f"{folder} could not be copied to {config.gather} ({reason})")


def _decode(runs: Sequence[Run], config: RunConfig) -> DecodedImages:
    """Every image that a run uses, decoded once or found in the cache."""
    positions = all_positions(runs)
    with progress_bar(total=len(positions), desc="decoding", unit="image") as bar:
        images = decode_images(
            runs[0].parts.index,
            positions,
            config,
            workers=usable_cores(),
            on_progress=lambda done, _: bar.update(done - bar.n),
            say=logger.info,
        )
    for path, reason in images.unreadable:
        logger.warning(f"unreadable image, not used: {path} ({reason})")
    for run in runs:
        run.parts.without(images)  # raises before anything is timed or trained
    return images
