"""Sees that a sweep can work before anything is trained, and estimates how long it will take."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import torch

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.models import build, weights
from bench.models.complexity import count_parameters
from bench.runner.context import Run, all_positions, find_runs
from bench.runner.executor import Executor, LocalExecutor
from bench.runner.manifest import Manifest, same_images
from bench.runner.remote_store import check_url
from bench.runner.trackers import require_tracker
from bench.system.devices import choose_device, probe
from bench.system.digits import counted, fixed
from bench.system.environment import usable_cores
from bench.timing.backends import require_packages, require_triton
from bench.timing.cases import plan_cases
from bench.timing.estimate import Estimate, StepRates, estimate, measure_rates
from bench.timing.planner import Plan, plan_session
from bench.timing.timer import device_name
from bench.train.distributed import ProcessGroup
from bench.train.optim import choose_amp

BYTES_PER_WEIGHT = 4
# While it trains: its state (weights and two moments) as it is and as it is written anew, and a
# better epoch's weights before they replace the best ones.
STATE_WEIGHTS = 2 * 3 + 1
DISK_MARGIN = 1.1
TUNING = (
    "tuning    memory format and compilation are chosen by a measurement (--tune auto): another "
    "one may choose otherwise, and results then differ"
)


@attrs.frozen
class PreflightResult:
    """What a sweep starts from.

    Attributes:
        executor: who trains several runs at once.
        device: where it trains.
        devices: all that it trains on at once.
        runs: seed, fold and images of each run of a variant.
        plan: of the timing session, or none.
        rates: speeds of each variant's steps on the device, as far as they are known.
        estimates: minutes of each variant.
        lines: what was found, for people.
        seconds: how long the check took.
        estimating_s: how much of it went into measuring the steps.
    """

    executor: Executor
    device: torch.device
    devices: list[str]
    runs: list[Run]
    plan: Plan | None
    rates: dict[str, StepRates]
    estimates: list[Estimate]
    lines: list[str]
    seconds: float
    estimating_s: float


def check(
    chosen: Sequence[variants.Variant],
    config: RunConfig,
    already_bytes: int = 0,
    team: ProcessGroup | None = None,
    journal: Manifest | None = None,
    executor: Executor | None = None,
) -> PreflightResult:
    """Check variants, device, weights, data, folders and disk, in this order.

    Args:
        chosen: the variants.
        config: the options.
        already_bytes: what the sweep has on the disk of its results already.
        team: the processes that train each model together; none: this one.
        journal: of the sweep that goes on; none: a new one begins.
        executor: who trains the runs; none: this machine.

    Raises:
        BenchError: the first thing that would make the sweep fail.
    """
    begin = time.perf_counter()
    executor, team = executor or LocalExecutor(), team or ProcessGroup()
    require_tracker(config)
    _check_tuning(chosen, config, journal)
    timed_here = config.timing and config.timing_on is None
    if timed_here:
        require_modes(config)
    device, devices = _find_devices(config, executor, team)
    trained_on = _describe_device(config, device, devices, team.size)
    sizes = _check_variants(chosen, config)
    initial = _check_weights(chosen, config)
    check_folder(config.results_dir, "--results-dir")
    check_folder(config.reports_dir, "--reports-dir")
    runs = find_runs(config)
    training = STATE_WEIGHTS * max(sizes, default=0) * len(devices)
    needed = _check_disk(runs, config, sum(sizes) * len(runs) + training - already_bytes)
    before, classes = time.perf_counter(), runs[0].parts.num_classes
    # The speed of this machine says nothing of another kind of device.
    same = torch.device(devices[0]).type == device.type
    rates = measure_rates(chosen, config, classes, device) if same else {}
    estimating = time.perf_counter() - before
    estimates = estimate(chosen, config, [run.parts for run in runs], rates)
    plan = plan_timing(chosen, config, classes) if timed_here else None
    lines = [
        f"variants  {len(chosen)}: {', '.join(variant.name for variant in chosen)}",
        trained_on,
        f"weights   {initial}",
        *_describe_data(runs, config),
        f"disk      {fixed(needed / 1e9, 2)} GB needed at most",
        *([TUNING] if config.tune == "auto" else []),
        *(f"warning   {line}" for line in runs[0].parts.warnings),
        *_describe_minutes(estimates, plan),
    ]
    if config.timing and not timed_here:
        lines.append(f"timing    on {config.timing_on} of the cluster, when all is trained")
    seconds = time.perf_counter() - begin
    return PreflightResult(
        executor, device, devices, runs, plan, rates, estimates, lines, seconds, estimating
    )


def _find_devices(
    config: RunConfig, executor: Executor, team: ProcessGroup
) -> tuple[torch.device, list[str]]:
    """Return the device of this process and all that train at once, once each has computed."""
    local = config.executor == "local"
    # Where others train, --device is of theirs.
    device = choose_device(config.device if local else "auto")
    if team.size > 1:
        _check_team(team, config)
    if config.gather is not None:
        check_url(config.gather)
    devices = executor.preflight(config, device) if team.size == 1 else [str(device)]
    if local:
        for name in devices:
            probe(torch.device(name))
    if team.size > 1 and team.device.type != device.type:
        raise BenchError(
            f"the processes of torchrun have come together on {team.device.type}, and the sweep is "
            f"to train on {device.type}: give --device {device.type} here too"
        )
    if config.tune == "auto" and local and torch.device(devices[0]).type == "cuda":
        require_triton("--tune auto")
    return device, devices


def _check_team(team: ProcessGroup, config: RunConfig) -> None:
    """See that nothing else trains several models at once, or elsewhere."""
    if config.executor != "local":
        raise BenchError(
            f"--executor {config.executor} sends trainings elsewhere, and torchrun started "
            f"{team.size} processes for one: leave one of them out"
        )
    if config.devices is not None:
        raise BenchError(
            f"--devices {config.devices} trains several models at once, and torchrun started "
            f"{team.size} processes for one model: leave one of them out"
        )


def as_begun(checked: PreflightResult, journal: Manifest, results_dir: Path) -> PreflightResult:
    """What was checked, with what could not be compared of the images of the sweep that goes on.

    Raises:
        BenchError: they are not those that it was begun with.
    """
    parts = checked.runs[0].parts
    assert parts.copies.contents is not None
    note = same_images(journal, results_dir, parts.index, parts.copies.contents)
    lines = [*checked.lines, *([f"warning   {note}"] if note else [])]
    return attrs.evolve(checked, lines=lines)


def _check_tuning(
    chosen: Sequence[variants.Variant], config: RunConfig, journal: Manifest | None
) -> None:
    """See that what is trained elsewhere has not yet to be measured here."""
    if config.tune == "off" or config.executor == "local":
        return
    if journal is None:
        raise BenchError(
            f"--tune auto measures on this machine, and --executor {config.executor} trains "
            "elsewhere: leave one of them out"
        )
    left = [variant.name for variant in chosen if variant.name not in journal.tuned]
    if left:
        raise BenchError(
            f"--resume: sweep {journal.id} (--tune auto) has yet to measure {', '.join(left)} on "
            f"this machine, and --executor {config.executor} trains elsewhere: go on with "
            "--executor local"
        )


def plan_timing(chosen: Sequence[variants.Variant], config: RunConfig, num_classes: int) -> Plan:
    """The timing session of these variants on this machine.

    Raises:
        BenchError: the time budget does not hold a single round, or an asked mode has no package.
    """
    require_modes(config)
    devices = [torch.device("cpu")]
    if _timed_on_a_gpu(config):
        devices.append(choose_device("cuda"))
    cases = plan_cases(config, [device.type for device in devices], usable_cores())
    rates = {}
    for device in devices:
        measured = measure_rates(chosen, config, num_classes, device)
        rates[device.type] = {name: steps.rate for name, steps in measured.items()}
    names = [variant.name for variant in chosen]
    plan = plan_session(names, session_baseline(chosen), cases, config, rates)
    return attrs.evolve(plan, keys={variant.name: variant.key for variant in chosen})


def require_modes(config: RunConfig) -> None:
    """See that this machine has what the modes of a timing session need.

    Raises:
        BenchError: it does not.
    """
    require_packages(config.mode_names, config.clock_names)
    if "compiled" in config.mode_names and _timed_on_a_gpu(config):
        require_triton("--modes compiled")


def _timed_on_a_gpu(config: RunConfig) -> bool:
    return torch.cuda.is_available() and config.device != "cpu"


def session_baseline(chosen: Sequence[variants.Variant]) -> str:
    """The chosen variant that most others name as their baseline, else the first."""
    names = [variant.name for variant in chosen]
    named = Counter(v.baseline for v in chosen if v.baseline in names)
    return next((name for name, _ in named.most_common(1) if name), names[0])


def _describe_device(
    config: RunConfig, device: torch.device, devices: Sequence[str], processes: int
) -> str:
    kind = torch.device(devices[0]).type
    if kind == device.type:
        line = f"device    {kind}: {device_name(device)}, mixed precision "
        line += choose_amp(config.amp, device)
    else:
        line = f"device    {kind} of the workers, mixed precision as is chosen there"
    if len(devices) > 1:
        line += f"; {len(devices)} at once"
    if processes > 1:
        line += f"; {processes} processes for each model"
    return line


def _describe_data(runs: Sequence[Run], config: RunConfig) -> list[str]:
    parts = runs[0].parts
    used = parts.used.as_dict()
    counts = ", ".join(f"{len(positions):,} {part}" for part, positions in used.items())
    kind = (
        "SYNTHETIC images, drawn by the program: no data was given or found; name yours with "
        "--data-dir"
        if parts.index.synthetic and config.data_dir is None
        else parts.index.layout
    )
    lines = [
        f"data      {parts.index.root if not parts.index.synthetic else 'built-in'} ({kind})",
        f"images    {counts}; {parts.num_classes} classes, {config.image_size} pixels",
    ]
    if len(runs) > 1:
        folds = f", {config.folds} folds" if config.folds else ""
        lines.append(
            f"runs      {len(runs)} of each variant: {counted(config.seeds, 'seed')}{folds}"
        )
    return lines


def _describe_minutes(estimates: Sequence[Estimate], plan: Plan | None) -> list[str]:
    total = sum(item.minutes for item in estimates)
    lines = [
        f"minutes   {fixed(item.minutes, 1, digits=2):>6}  {item.variant}, "
        f"{fixed(item.epoch_s, 1)} s an epoch{item.note}"
        for item in estimates
    ]
    if plan is not None:
        total += plan.seconds / 60
        lines.append(f"minutes   {fixed(plan.seconds / 60, 1, digits=2):>6}  timing: {plan.line()}")
        lines += [f"timing    {note}" for note in plan.notes]
    return [*lines, f"minutes   {fixed(total, 1, digits=2):>6}  in all, estimated"]


def check_folder(path: Path, flag: str) -> None:
    """See that a folder can be written to, or made.

    Raises:
        BenchError: it is a file, or not writable.
    """
    existing = _existing(path)
    if not existing.is_dir():
        raise BenchError(f"{flag} {path}: {existing} is a file: give a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BenchError(f"{flag} {path}: {existing} is not writable: give another folder")


def _check_variants(chosen: Sequence[variants.Variant], config: RunConfig) -> list[int]:
    """Bytes of the weights of each; what declares no count is built on the meta device.

    A variant that cannot be built is no reason to stop the others: its run records why.
    """
    sizes = []
    for variant in chosen:
        with contextlib.suppress(Exception):
            declared = variant.declared_parameters(10, config.reduction)
            if declared is None:
                declared = count_parameters(build.on_meta(variant, 10, config))
            sizes.append(BYTES_PER_WEIGHT * declared)
    return sizes


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _check_weights(chosen: Sequence[variants.Variant], config: RunConfig) -> str:
    tags = {build.tag(variant): variant for variant in chosen}
    if config.weights is not None:
        for tag, variant in tags.items():
            file = weights.find_file(config.weights, tag)
            model = build.on_meta(variant, build.REFERENCE_CLASSES, config)
            weights.check_file(build.backbone_of(variant, model), file, tag)
        return f"from {config.weights} for {', '.join(tags)}"
    if config.pretrained:
        weights.check_hub(list(tags))
        return f"timm's {', '.join(tags)}"
    return "random (no --pretrained, no --weights)"


def _check_disk(runs: Sequence[Run], config: RunConfig, checkpoint_bytes: int) -> float:
    decoded = len(all_positions(runs)) * config.image_size**2 * 3
    needed = DISK_MARGIN * (decoded + checkpoint_bytes)
    existing = _existing(config.results_dir.absolute())
    free = shutil.disk_usage(existing).free
    if checkpoint_bytes * DISK_MARGIN > free:
        raise BenchError(
            f"{existing} has {fixed(free / 1e9, 1)} GB free and the checkpoints need "
            f"{fixed(checkpoint_bytes / 1e9, 1)} GB: free some, or give --results-dir on another "
            "disk"
        )
    return needed
