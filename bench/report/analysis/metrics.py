"""What can be measured: a registry of small getters, each from a record to one figure."""

from __future__ import annotations

from collections.abc import Callable

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
from bench.report.analysis.values import Value, fixed, missing, significant
from bench.report.render.markdown import one_line

ACCURACIES = ("accuracy", "valid_accuracy")

Getter = Callable[[Record], Value]
_GETTERS: dict[str, Getter] = {}
_FROM_COUNTS: set[str] = set()


def metric(name: str, *, counts: bool = False) -> Callable[[Getter], Getter]:
    """Register a getter; ``counts``: it needs no finished training."""

    def register(getter: Getter) -> Getter:
        if name in _GETTERS:
            raise ValueError(f"metric {name!r} is registered twice")
        _GETTERS[name] = getter
        if counts:
            _FROM_COUNTS.add(name)
        return getter

    return register


def metrics() -> tuple[str, ...]:
    """The names that a row of ``claims.toml`` may use."""
    return tuple(_GETTERS)


def needs_no_training(name: str) -> bool:
    """Whether a failed run can still have the figure."""
    return name in _FROM_COUNTS


def value_of(record: Record, name: str) -> Value:
    """The figure ``name`` of a record; KeyError where no such figure is registered."""
    return _GETTERS[name](record)


# --- counts ----------------------------------------------------------------------------------


def _count(record: Record, key: str) -> Value:
    count = (record.get("counts") or {}).get(key)
    if count is None:
        return missing("not counted in this run")
    return Value(number=count / 1e6, text=fixed(count / 1e6, 2))


@metric("parameters_1000", counts=True)
def _parameters_1000(record: Record) -> Value:
    return _count(record, "parameters_1000_classes")


@metric("parameters_run", counts=True)
def _parameters_run(record: Record) -> Value:
    return _count(record, "parameters")


def gmacs(record: Record, pixels: int) -> Value:
    """GMACs by fvcore at an image size."""
    for entry in (record.get("counts") or {}).get("macs") or []:
        if entry.get("image_size") == pixels and entry.get("gmacs") is not None:
            return Value(number=entry["gmacs"], text=significant(entry["gmacs"]))
    return missing(f"MACs not counted at {pixels} pixels")


@metric("gmacs_224", counts=True)
def _gmacs_224(record: Record) -> Value:
    return gmacs(record, GUIDE_PIXELS)


# --- speed and memory ------------------------------------------------------------------------


def _timed(name: str) -> Getter:
    return lambda record: timed_value(record, name)


for _name in TIMINGS:
    metric(_name)(_timed(_name))


@metric("train_images_per_s")
def train_images_per_s(record: Record) -> Value:
    """Training images/s, with what two runs must share to be compared."""
    training, config = record.get("training") or {}, record.get("config") or {}
    speed, setup = training.get("images_per_s"), training.get("setup") or {}
    if (setup.get("features") or {}).get("train_batches_read"):
        return missing("read features that another variant had computed")
    if config.get("progressive"):
        return missing("the images grew: --progressive")
    if speed is None:
        return missing("training speed not recorded")
    keys = ("batch_size", "image_size", "freeze_backbone")
    return Value(
        number=speed,
        text=significant(speed),
        device=one_line(training.get("device_name") or training.get("device") or "unknown device"),
        threads=training_threads(record),
        setting={
            **{key.replace("_", " "): config.get(key) for key in keys},
            "mixed precision": training.get("amp"),
            "memory format": setup.get("memory_format"),
            "forward pass": (setup.get("forward") or {}).get("chosen"),
            "parts of a batch": training.get("accumulation_parts") or 1,
            "machine": machine_of(record),
            "device": training.get("device_name"),
            "threads": (record.get("environment") or {}).get("threads"),
        },
    )


def training_threads(record: Record) -> int | None:
    """CPU threads that a run trained with; None on a GPU."""
    environment = record.get("environment") or {}
    device = (record.get("training") or {}).get("device")
    return threads_of({"device": device, "threads": environment.get("threads")})


@metric("gpu_memory_gb")
def gpu_memory_gb(record: Record) -> Value:
    """Peak GPU memory of the training in GB (10⁹ bytes): what the driver shows, where it is known.

    ``setting`` says as ``memory`` which of the recorded figures it is.
    """
    training = record.get("training") or {}
    if "CUDA" not in str(training.get("peak_memory_kind") or ""):
        return missing(no_cuda(record))
    found = gpu_memory(record)
    if not found:
        return missing("peak memory not recorded")
    kind, memory = next(iter(found.items()))
    return Value(
        number=memory / 1000,
        text=", ".join(f"{significant(size / 1000)} {name}" for name, size in found.items()),
        device=one_line(training.get("device_name")),
        setting={"memory": kind},
    )


ALLOCATED = "allocated by PyTorch"


def gpu_memory(record: Record) -> dict[str, float]:
    """Peaks in MB by what they count; the one nearest to what the driver shows comes first."""
    training = record.get("training") or {}
    if "CUDA" not in str(training.get("peak_memory_kind") or ""):
        return {}
    about = training.get("gpu_memory") or {}
    known = {
        f"in use by {one_line(about.get('in_use_of'))}": about.get("in_use_mb"),
        "reserved by PyTorch": about.get("reserved_mb"),
        ALLOCATED: about.get("allocated_mb", training.get("peak_memory_mb")),
    }
    return {name: size for name, size in known.items() if size is not None}


# --- accuracy and declarations ---------------------------------------------------------------


@metric("valid_accuracy")
@metric("accuracy")
def accuracy(record: Record) -> Value:
    """Accuracy in percent on the part that models are judged on, with its Wilson interval.

    Undertrained models are marked. (The name "valid_accuracy" is older than the test part.)
    """
    return accuracy_value(record, judged_accuracy(record), judged_part(record))


@metric("valid_part_accuracy")
def valid_part_accuracy(record: Record) -> Value:
    """Accuracy in percent on the validation part, which the best epoch was chosen on."""
    return accuracy_value(record, valid_accuracy(record), "validation")


def accuracy_value(record: Record, found: Accuracy | None, part: str) -> Value:
    """An accuracy as ``95.7 [79.0–99.2], n 23, test``."""
    if found is None:
        trained = record.get("training") or record.get("metrics")
        return missing("accuracy not recorded" if trained else "not trained in this run")
    percent = 100 * found.share
    if found.undertrained:
        return missing(f"{percent:.1f} %, {part}: {found.undertrained}", "undertrained")
    text, interval = f"{percent:.1f}", None
    if found.low is not None and found.high is not None:
        interval = (100 * found.low, 100 * found.high)
        text += f" [{interval[0]:.1f}–{interval[1]:.1f}], {found.count()}"
    setting = {
        "data": (record.get("data") or {}).get("fingerprint"),
        "image size": (record.get("config") or {}).get("image_size"),
        "part": part,
        "images": found.total,
    }
    return Value(number=percent, text=f"{text}, {part}", setting=setting, interval=interval)


@metric("imagenet")
def _imagenet(record: Record) -> Value:
    return missing("ImageNet accuracy is not measured by this project")


@metric("use_case", counts=True)
def _use_case(record: Record) -> Value:
    text = (record.get("variant") or {}).get("use_case")
    return Value(text=one_line(text)) if text else missing("the variant declares none")


@metric("weights_tag")
def _weights_tag(record: Record) -> Value:
    used = one_line((record.get("training") or {}).get("initial_weights") or "not recorded")
    tag = one_line((record.get("variant") or {}).get("weights_tag") or "")
    if used == "random" and tag:
        return Value(text=f"random weights in this run (declared: {tag})")
    return Value(text=used)


def _six_key(key: str) -> Getter:
    def getter(record: Record) -> Value:
        number = (record.get("metrics") or {}).get(key)
        if number is None:
            return missing(f"{key} not recorded")
        found = valid_accuracy(record) if key == "valid_acc" else None
        if found is not None and found.undertrained:
            return missing(f"{fixed(number, 4)}: {found.undertrained}", "undertrained")
        return Value(number, f"{number:d}" if key == "best_epoch" else fixed(number, 4))

    return getter


for _key in ("valid_acc", "valid_loss", "train_acc", "train_loss", "best_epoch"):
    metric(f"metrics_{_key}")(_six_key(_key))


@metric("metrics_fps")
def _metrics_fps(record: Record) -> Value:
    fps = (record.get("metrics") or {}).get("fps")
    if fps is None:
        off = (record.get("config") or {}).get("timing") is False
        return missing("timing was off" if off else record.get("timing_error") or "not timed")
    device = one_line((record.get("training") or {}).get("device_name") or "")
    threads = threads_of(fps_entry(record) or {})
    return Value(number=fps, text=fixed(fps, 1), device=device, threads=threads)
