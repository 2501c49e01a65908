"""What can be measured: small getters, each from a record to one figure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.records.schema import lookup
from bench.report.analysis.machines import machine_of
from bench.report.analysis.timings import (
    GUIDE_PIXELS,
    TIMINGS,
    fps_entry,
    no_cuda,
    threads_of,
    timed_value,
)
from bench.report.analysis.validity import (
    Accuracy,
    Record,
    judged_accuracy,
    judged_part,
    valid_accuracy,
)
from bench.report.analysis.values import (
    Value,
    fixed,
    missing,
    percent_with_interval,
    significant,
)
from bench.report.render.markdown import one_line

ACCURACIES = ("accuracy", "valid_accuracy")

Getter = Callable[[Record], Value]
_GETTERS: dict[str, Getter] = {}


def metric(name: str) -> Callable[[Getter], Getter]:
    """Register a getter."""

    def register(getter: Getter) -> Getter:
        if name in _GETTERS:
            raise ValueError(f"metric {name!r} is registered twice")
        _GETTERS[name] = getter
        return getter

    return register


def metrics() -> tuple[str, ...]:
    """Return the names that a row of ``claims.toml`` may use."""
    return tuple(_GETTERS)


def needs_no_training(name: str) -> bool:
    """Return whether a failed run can still have the figure."""
    return name in ("parameters_1000", "parameters_run", "gmacs_224", "use_case")


def value_of(record: Record, name: str) -> Value:
    """Return the figure ``name`` of a record; KeyError where no such figure is registered."""
    return _GETTERS[name](record)


# --- counts ----------------------------------------------------------------------------------


def _parameters(record: Record, key: str) -> Value:
    count = lookup(record, "counts", key)
    if count is None:
        return missing("not counted in this run")
    return Value(number=count / 1e6, text=fixed(count / 1e6, 2))


metric("parameters_1000")(lambda record: _parameters(record, "parameters_1000_classes"))
metric("parameters_run")(lambda record: _parameters(record, "parameters"))


def gmacs(record: Record, pixels: int) -> Value:
    """Return GMACs by fvcore at an image size."""
    for entry in lookup(record, "counts", "macs") or []:
        if entry.get("image_size") == pixels and entry.get("gmacs") is not None:
            return Value(number=entry["gmacs"], text=significant(entry["gmacs"]))
    return missing(f"MACs not counted at {pixels} pixels")


metric("gmacs_224")(lambda record: gmacs(record, GUIDE_PIXELS))


# --- speed and memory ------------------------------------------------------------------------

for _name in TIMINGS:
    metric(_name)(partial(timed_value, name=_name))


@metric("train_images_per_s")
def train_images_per_s(record: Record) -> Value:
    """Return training images/s, with what two runs must share to be compared."""
    training, config = record.get("training") or {}, record.get("config") or {}
    if lookup(training, "setup", "features", "train_batches_read"):
        return missing("read features that another variant had computed")
    if config.get("progressive"):
        return missing("the images grew: --progressive")
    speed, device = training.get("images_per_s"), training.get("device_name")
    if speed is None:
        return missing("training speed not recorded")
    return Value(
        number=speed,
        text=significant(speed),
        device=one_line(device or training.get("device") or "unknown device"),
        threads=training_threads(record),
        setting={
            "batch size": config.get("batch_size"),
            "image size": config.get("image_size"),
            "freeze backbone": config.get("freeze_backbone"),
            "mixed precision": training.get("amp"),
            "memory format": lookup(training, "setup", "memory_format"),
            "forward pass": lookup(training, "setup", "forward", "chosen"),
            "parts of a batch": training.get("accumulation_parts") or 1,
            "machine": machine_of(record),
            "device": device,
            "threads": lookup(record, "environment", "threads"),
        },
    )


def training_threads(record: Record) -> int | None:
    """Return CPU threads that a run trained with; None on a GPU."""
    device = lookup(record, "training", "device")
    return threads_of({"device": device, "threads": lookup(record, "environment", "threads")})


@metric("gpu_memory_gb")
def gpu_memory_gb(record: Record) -> Value:
    """Return the peak GPU memory of the training in GB (10⁹ bytes), the driver's where known.

    ``setting`` says as ``memory`` which of the recorded figures it is.
    """
    if not _on_cuda(record):
        return missing(no_cuda(record))
    peaks = gpu_memory(record)
    if not peaks:
        return missing("peak memory not recorded")
    kind, memory = next(iter(peaks.items()))
    return Value(
        number=memory / 1000,
        text=", ".join(f"{significant(size / 1000)} {name}" for name, size in peaks.items()),
        device=one_line(lookup(record, "training", "device_name")),
        setting={"memory": kind},
    )


ALLOCATED = "allocated by PyTorch"


def gpu_memory(record: Record) -> dict[str, float]:
    """Return peaks in MB by what they count, the one nearest to the driver's first."""
    if not _on_cuda(record):
        return {}
    memory = lookup(record, "training", "gpu_memory") or {}
    peaks = {
        f"in use by {one_line(memory.get('in_use_of'))}": memory.get("in_use_mb"),
        "reserved by PyTorch": memory.get("reserved_mb"),
        ALLOCATED: memory.get("allocated_mb", lookup(record, "training", "peak_memory_mb")),
    }
    return {name: size for name, size in peaks.items() if size is not None}


def _on_cuda(record: Record) -> bool:
    return "CUDA" in str(lookup(record, "training", "peak_memory_kind"))


# --- accuracy and declarations ---------------------------------------------------------------


# "valid_accuracy" is older than the test part.
@metric("valid_accuracy")
@metric("accuracy")
def accuracy(record: Record) -> Value:
    """Return accuracy in percent on the part that models are judged on, with its Wilson interval.

    Undertrained models are marked.
    """
    return _accuracy_value(record, judged_accuracy(record), judged_part(record))


@metric("valid_part_accuracy")
def _valid_part_accuracy(record: Record) -> Value:
    """Return accuracy in percent on the validation part, which the best epoch was chosen on."""
    return _accuracy_value(record, valid_accuracy(record), "validation")


def _accuracy_value(record: Record, accuracy: Accuracy | None, part: str) -> Value:
    """Return an accuracy as ``95.7 [79.0–99.2], n 23, test``."""
    if accuracy is None:
        trained = record.get("training") or record.get("metrics")
        return missing("accuracy not recorded" if trained else "not trained in this run")
    percent, low, high = 100 * accuracy.share, accuracy.low, accuracy.high
    if accuracy.undertrained:
        return missing(f"{percent:.1f} %, {part}: {accuracy.undertrained}", "undertrained")
    text, interval = percent_with_interval(accuracy.share, low, high), None
    if low is not None and high is not None:
        text, interval = f"{text}, {accuracy.count()}", (100 * low, 100 * high)
    setting = {
        "data": lookup(record, "data", "fingerprint"),
        "image size": lookup(record, "config", "image_size"),
        "part": part,
        "images": accuracy.total,
    }
    return Value(number=percent, text=f"{text}, {part}", setting=setting, interval=interval)


@metric("imagenet")
def _imagenet(_record: Record) -> Value:
    return missing("ImageNet accuracy is not measured by this project")


@metric("use_case")
def _use_case(record: Record) -> Value:
    text = lookup(record, "variant", "use_case")
    return Value(text=one_line(text)) if text else missing("the variant declares none")


@metric("weights_tag")
def _weights_tag(record: Record) -> Value:
    used = one_line(lookup(record, "training", "initial_weights") or "not recorded")
    tag = one_line(lookup(record, "variant", "weights_tag") or "")
    if used == "random" and tag:
        return Value(text=f"random weights in this run (declared: {tag})")
    return Value(text=used)


def _of_metrics_json(record: Record, key: str) -> Value:
    number = lookup(record, "metrics", key)
    if number is None:
        return missing(f"{key} not recorded")
    accuracy = valid_accuracy(record) if key == "valid_acc" else None
    if accuracy is not None and accuracy.undertrained:
        return missing(f"{fixed(number, 4)}: {accuracy.undertrained}", "undertrained")
    return Value(number, f"{number:d}" if key == "best_epoch" else fixed(number, 4))


for _key in ("valid_acc", "valid_loss", "train_acc", "train_loss", "best_epoch"):
    metric(f"metrics_{_key}")(partial(_of_metrics_json, key=_key))


@metric("metrics_fps")
def _metrics_fps(record: Record) -> Value:
    fps = lookup(record, "metrics", "fps")
    if fps is None:
        off = lookup(record, "config", "timing") is False
        return missing("timing was off" if off else record.get("timing_error") or "not timed")
    device = one_line(lookup(record, "training", "device_name") or "")
    threads = threads_of(fps_entry(record) or {})
    return Value(number=fps, text=fixed(fps, 1), device=device, threads=threads)
