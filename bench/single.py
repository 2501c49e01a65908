"""One run of a variant, from its declaration to its record: count, train, write."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import torch

import variants
from bench import build
from bench.config import MOVABLE, RunConfig
from bench.costs import Costs
from bench.data.cache import DecodedImages
from bench.data.parts import Parts
from bench.errors import BenchError
from bench.estimate import StepRates
from bench.failures import explain
from bench.measure.environment import others_load
from bench.measure.memory import PeakMemory
from bench.measure.throughput import device_name
from bench.presets import Resolved
from bench.record import count_into, go_on, new_record, now, time_into
from bench.results import new_run_folder, write_json, write_record
from bench.results.plot import training_plot
from bench.runs import Run
from bench.session import Timed
from bench.setup import Setup, set_up
from bench.stopping import StoppedError, Stopper
from bench.train.accumulation import Accumulation
from bench.train.engine import TrainResult, fit
from bench.train.feature_store import FeatureStore
from bench.train.metrics import evaluate
from bench.train.optim import choose_amp
from bench.train.progress import Progress
from bench.train.state import FILE as LAST
from bench.train.state import UnusableStateError, about_of, check_about

# A state of another training, put aside.
UNUSED = "last.unused.pt"


@attrs.frozen(kw_only=True)
class Sweep:
    """What all variants of a sweep share at one seed and fold.

    Attributes:
        run: seed, fold and images.
        data: the ``data`` of the record.
        images: their pixels.
        timed: the timing session of the sweep, or none.
        rates: speeds of the variants' steps, as far as they are known.
        features: what a frozen backbone computed for other variants, or none.
        needed_later: variants after which others of the same backbone come.
        costs: where the seconds of the run at hand go.
        stopper: says whether to stop before the end.
        accumulation: divides batches that do not fit in memory, the same for all.
    """

    id: str
    command: str
    resolved: Resolved
    device: torch.device
    run: Run
    data: dict[str, Any]
    images: DecodedImages
    timed: Timed | None
    stream: Any
    rates: Mapping[str, StepRates] = attrs.field(factory=dict)
    features: FeatureStore | None = None
    needed_later: frozenset[str] = frozenset()
    costs: Costs = attrs.field(factory=Costs)
    stopper: Stopper = attrs.field(factory=Stopper)
    accumulation: Accumulation = attrs.field(factory=Accumulation)

    @property
    def config(self) -> RunConfig:
        """The options, with this run's seed."""
        return attrs.evolve(self.resolved.config, seed=self.run.seed)

    @property
    def parts(self) -> Parts:
        """The images of this run."""
        return self.run.parts


def run_variant(
    sweep: Sweep, variant: variants.Variant, begun: tuple[Path, dict[str, Any]] | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train and count a variant; its folder and record. A failure is a record too.

    Args:
        sweep: what it shares with others.
        variant: what is trained.
        begun: folder and record of the run where it was broken off; none: it has yet to begin.

    Raises:
        StoppedError: the sweep's stopper said so; the record says ``running``.
    """
    sweep = attrs.evolve(sweep, costs=Costs(begun[1]["costs"] if begun else None))
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
    record["warnings"] += sweep.parts.warnings
    if begun is None:
        folder = new_run_folder(config.results_dir, variant.name, datetime.now(), record)
    else:
        folder = begun[0]
        record = go_on(begun[1], record, continued=(folder / LAST).exists())
        write_record(folder, record)
    try:
        time_into(record, variant.name, sweep.timed)
        with sweep.costs.of("counting"):
            count_into(record, variant, sweep.parts.num_classes, config)
        _train(sweep, variant, folder, record)
        with sweep.costs.of("figures and files"):
            _write_guide_files(sweep, folder, record)
        record["status"] = "complete"
    except StoppedError:
        _note_costs(sweep, record)
        write_record(folder, record)
        raise
    except Exception as error:
        if sweep.stopper.number is not None:
            # A signal to all processes ends those that load images first.
            _note_costs(sweep, record)
            write_record(folder, record)
            raise StoppedError(sweep.stopper.number) from error
        record["status"] = "failed"
        record["error"] = {
            "type": type(error).__name__,
            "message": explain(error),
            "traceback": traceback.format_exc(),
        }
    record["finished"] = now()
    record["environment"]["load_after"] = others_load()
    _note_costs(sweep, record)
    _keep(folder, record)
    if record["status"] == "complete":
        # Three times the room of the best weights, and of no more use.
        (folder / LAST).unlink(missing_ok=True)
        (folder / UNUSED).unlink(missing_ok=True)
    return folder, record


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


def _train(sweep: Sweep, variant: variants.Variant, folder: Path, record: dict[str, Any]) -> None:
    config, parts, device = sweep.config, sweep.parts, sweep.device
    with sweep.costs.of("building"):
        model, initial = build.build(variant, parts.num_classes, config)
    mean, std = build.normalisation(model)
    noted = [] if sweep.features is None else list(sweep.features.notes)
    last = folder / LAST
    recipe = _recipe(sweep, variant)
    before = _before(last, recipe, record)
    with sweep.costs.of("tuning"):
        setup = set_up(sweep, variant, model, (mean, std), record["warnings"], before=before)
    memory = PeakMemory(device)
    torch.manual_seed(config.seed)
    result = fit(
        model,
        setup.loaders["train"],
        setup.loaders["valid"],
        config,
        device=device,
        prepare=setup.prepare,
        forward=setup.forward,
        evaluating=setup.evaluating,
        progress=Progress(variant.name, config.epochs, sweep.stream),
        best_path=folder / "best_model.pt",
        about={
            "variant": variant.name,
            "variant_version": variant.version,
            "reduction": config.reduction,
            "classes": list(parts.index.classes),
            "image_size": config.image_size,
            "mean": list(mean),
            "std": list(std),
        },
        last_path=last,
        recipe={**recipe, **setup.lasting},
        stopper=sweep.stopper,
        accumulation=sweep.accumulation,
    )
    record["warnings"] += [n for n in sweep.accumulation.notes if n not in record["warnings"]]
    _count_costs(sweep, result)
    if sweep.features is not None:
        record["warnings"] += [note for note in sweep.features.notes if note not in noted]
    record["training"] = _training_record(sweep, result, initial, memory, setup)
    names = parts.index.paths
    record["validation"] = result.best.as_record([names[p] for p in parts.used.valid])
    if parts.used.test:
        with sweep.costs.of("test part"):
            on_test = evaluate(
                model,
                setup.loaders["test"],
                device,
                prepare=setup.prepare,
                forward=setup.evaluating,
                amp=result.amp,
            )
        record["test"] = on_test.as_record([names[p] for p in parts.used.test])


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
        last.replace(last.with_name(UNUSED))
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


def _count_costs(sweep: Sweep, result: TrainResult) -> None:
    """Training and validation; what the first batch took beyond a steady one apart."""
    for label in ("first batch", "training", "validation"):
        # The epochs before the run was broken off are in the result too.
        sweep.costs.seconds.pop(label, None)
    training, first = sum(row["train_seconds"] for row in result.epochs), 0.0
    if result.steps > 1:
        steady = (training - result.first_batch_seconds) / (result.steps - 1)
        first = max(0.0, result.first_batch_seconds - steady)
    sweep.costs.add("first batch", first)
    sweep.costs.add("training", training - first)
    sweep.costs.add("validation", sum(row["valid_seconds"] for row in result.epochs))


def _training_record(
    sweep: Sweep, result: TrainResult, initial: str, memory: PeakMemory, setup: Setup
) -> dict[str, Any]:
    config, loader, facts = sweep.config, setup.loaders["train"], setup.as_record()
    peak = memory.peak_mb()
    seconds = sum(row["train_seconds"] for row in result.epochs)
    return {
        "device": sweep.device.type,
        "device_name": device_name(sweep.device),
        "amp": result.amp,
        "epochs_run": len(result.epochs),
        "best_epoch": result.best_epoch,
        "best_macro_f1": result.best.macro_f1,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "peak_memory_mb": peak,
        "peak_memory_kind": memory.kind,
        # Features that another variant has computed are read, not trained on: no speed of this one.
        "images_per_s": None
        if (facts["features"] or {}).get("train_batches_read")
        else len(loader.dataset) * len(result.epochs) / seconds,
        "steps_per_epoch": len(loader),
        "attention_lr": config.head_lr if config.attention_lr == "head" else config.base_lr,
        "initial_weights": initial,
        "frozen_backbone": config.freeze_backbone,
        "accumulation_parts": sweep.accumulation.parts,
        "setup": facts,
        "epochs": result.epochs,
    }


def _write_guide_files(sweep: Sweep, folder: Path, record: dict[str, Any]) -> None:
    """The files that the guide promises: metrics.json, history.json, training_plot.png."""
    training, best = record["training"], record["validation"]
    if training is None:
        raise BenchError("the training left no result")
    row = training["epochs"][training["best_epoch"] - 1]
    fps = _guide_fps(record["timing"], sweep.device.type, sweep.config.image_size)
    record["metrics"] = {
        "valid_acc": best["accuracy"],
        "valid_loss": best["loss"],
        "train_acc": row["train_acc"],
        "train_loss": row["train_loss"],
        "best_epoch": training["best_epoch"],
        "fps": fps,
    }
    write_json(folder / "metrics.json", record["metrics"])
    if sweep.config.save_history:
        write_json(folder / "history.json", training["epochs"])
    training_plot(training["epochs"], folder / "training_plot.png", record["variant"]["name"])


def _guide_fps(timing: list[dict[str, Any]], device: str, image_size: int) -> float | None:
    """Images/s of the model alone at the timing batch and the run's size, with all threads."""
    found = [
        case
        for case in timing
        if (case["device"], case["clock"], case["regime"]) == (device, "model", "throughput")
        and case["image_size"] == image_size
        and case["mode"] == "eager"
    ]
    return max(found, key=lambda case: case["threads"])["images_per_s"] if found else None
