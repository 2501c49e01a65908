"""Read a record's timings: the case of each, its rounds, and the one figure for a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs

from bench.records.schema import lookup
from bench.report.analysis.machines import machine_of
from bench.report.analysis.validity import Record, is_finite
from bench.report.analysis.values import (
    Value,
    counted,
    fixed,
    missing,
    significant,
    with_interval,
)
from bench.report.render.markdown import one_line
from bench.stats.timing import FEWEST_ROUNDS, Location, Ratio
from bench.system.digits import apart

EAGER = "eager"
RATIO_NOTE = (
    "A speed ratio is the geometric mean over the rounds of the ratio within each round (from 8 "
    "rounds on without the eighth at each end), not the quotient of the medians."
)
CLOCK_WORDS = {
    "model": "model alone",
    "copy": "model and copy to the GPU",
    "pipeline": "whole pipeline",
    "train": "training step",
}


@attrs.frozen
class TimingKey:
    """What timing entries share that stand together; the fields are keys of an entry."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Return the key of a record's timing entry."""
        values: dict[str, Any] = {field.name: entry.get(field.name) for field in attrs.fields(cls)}
        return cls(**values)


@attrs.frozen
class CaseKey(TimingKey):
    """What two timings must share to be compared."""

    device: str
    clock: str
    regime: str
    image_size: int
    batch_size: int
    threads: int
    dtype: str
    memory_format: str

    def label(self) -> str:
        """Return ``CPU, model alone, batch 16, 224 pixels, 2 threads, float32``."""
        plain = self.memory_format == "contiguous"
        parts = (
            self.where(),
            CLOCK_WORDS.get(self.clock, self.clock),
            f"batch {self.batch_size}",
            f"{self.image_size} pixels",
            # The CPU threads have no part in a GPU's speed.
            counted(self.threads, "thread") if self.device == "cpu" else "",
            self.dtype,
            "" if plain else str(self.memory_format).replace("_", "-"),
        )
        return ", ".join(one_line(part) for part in parts if part != "")

    def where(self) -> str:
        """Return ``CPU`` or ``GPU``."""
        return "CPU" if self.device == "cpu" else "GPU"

    @property
    def latency(self) -> bool:
        """Whether the case is timed at batch 1 for its latency."""
        return self.regime == "latency"


def mode_of(entry: Mapping[str, Any]) -> str:
    """Return how the model was run: records that know of no other mode were eager."""
    return str(entry.get("mode") or EAGER)


def eager(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the timing entries of a record that were run eagerly: what all tables but one show."""
    return [entry for entry in record.get("timing") or [] if mode_of(entry) == EAGER]


def cases(
    entries: Iterable[Mapping[str, Any]], mode: str = EAGER
) -> dict[CaseKey, Mapping[str, Any]]:
    """Return the timing entries of one mode by case; of two with the same case the last."""
    return {CaseKey.of(entry): entry for entry in entries if mode_of(entry) == mode}


def blocks_of(entry: Mapping[str, Any] | None) -> dict[int, list[float]]:
    """Return seconds of a step in the blocks of each round that has a usable one."""
    rounds = enumerate((entry or {}).get("rounds") or [])
    return {
        part.get("round", number): blocks
        for number, part in rounds
        if (blocks := _positive(part.get("block_seconds")))
    }


def rounds_of(entry: Mapping[str, Any] | None) -> dict[int, float]:
    """Return seconds of a step in each round: the median of its blocks."""
    return medians(blocks_of(entry))


def medians(blocks: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Return the median of the blocks of each round."""
    return {number: statistics.median(seconds) for number, seconds in blocks.items()}


def step_seconds(entry: Mapping[str, Any]) -> list[float]:
    """Return seconds of every step that was timed by itself, over all rounds."""
    rounds = entry.get("rounds") or []
    return [seconds for part in rounds for seconds in _positive(part.get("step_seconds"))]


def _positive(values: Sequence[Any] | None) -> list[float]:
    return [float(value) for value in values or [] if is_finite(value) and value > 0]


def too_few_rounds(rounds: int) -> str:
    """Return why nothing is declared from so many rounds."""
    return f"undecided: {counted(rounds, 'round')}, an interval needs {FEWEST_ROUNDS}"


def latency_text(found: Location) -> str:
    """Return ``9.87 [9.80–9.95]``, in ms."""

    def milliseconds(seconds: float) -> str:
        return significant(1000 * seconds)

    return with_interval(milliseconds(found.median), found.low, found.high, milliseconds)


def images_text(found: Location, batch: int) -> str:
    """Return ``345 [340–350]``, in images/s."""

    def speed(seconds: float) -> str:
        return significant(batch / seconds)

    return with_interval(speed(found.median), found.high, found.low, speed)


def ratio_text(ratio: Ratio | None) -> str:
    """Return ``0.912 [0.905–0.919]``."""
    if ratio is None:
        return "n/a (no common round)"
    text = fixed(ratio.ratio, 3, least=3)
    if ratio.low is None:
        return f"{text} (no interval)"
    return with_interval(text, ratio.low, ratio.high, lambda bound: ratio_bound(bound, 3))


def ratio_bound(number: float, places: int) -> str:
    """Format a bound; of an interval without 1 none is written as 1."""
    if round(number, places) == 1:
        return apart(number, places, 1.0)
    return fixed(number, places, least=places)


def percent_text(share: float) -> str:
    """Return a share of speed in percent: ``3.5``, ``0.12``."""
    return fixed(100 * share, 1, digits=2)


GUIDE_PIXELS = 224
# Metric: the devices it is taken from, the first that was timed; what is inside the clock.
TIMINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "cpu_images_per_s": (("cpu",), "model"),
    "gpu_images_per_s": (("cuda",), "model"),
    "any_images_per_s": (("cuda", "cpu"), "model"),
    "train_step_images_per_s": (("cuda", "cpu"), "train"),
}


def timed_by(record: Record, name: str) -> Record | None:
    """Return the timing entry behind one of :data:`TIMINGS`, None where it was not timed."""
    devices, clock = TIMINGS[name]
    entries = (timing_entry(record, device, GUIDE_PIXELS, clock=clock) for device in devices)
    return next(filter(None, entries), None)


def timed_value(record: Record, name: str) -> Value:
    """Return one of :data:`TIMINGS` as a figure."""
    devices, clock = TIMINGS[name]
    values = [throughput(record, device, GUIDE_PIXELS, clock=clock) for device in devices]
    return next((value for value in values if value.mark is None), values[-1])


def timing_entry(
    record: Record, device: str, pixels: int, *, clock: str = "model", regime: str = "throughput"
) -> Record | None:
    """Return the timing of a run that stands in tables: eager, float32 before others, most threads.

    Of two memory formats channels-last, that of training.

    Args:
        device: "cpu" or "cuda".
        pixels: image size.
        clock: what is inside the clock.
        regime: "throughput", or "latency" at batch 1.
    """
    wanted = {"device": device, "clock": clock, "regime": regime, "image_size": pixels}
    entries = (
        entry
        for entry in eager(record)
        if entry.get("images_per_s") is not None
        and all(entry.get(key) == value for key, value in wanted.items())
    )
    return max(
        entries,
        key=lambda entry: (
            entry.get("dtype") == "float32",
            entry.get("threads") or 0,
            entry.get("memory_format") == "channels_last",
        ),
        default=None,
    )


def fps_entry(record: Record) -> Record | None:
    """Return the timing behind ``fps`` of metrics.json: the training's device, the run's size."""
    device, pixels = lookup(record, "training", "device"), lookup(record, "config", "image_size")
    return timing_entry(record, str(device), int(pixels or 0))


def throughput(record: Record, device: str, pixels: int, *, clock: str = "model") -> Value:
    """Return images/s of a run on "cpu" or "cuda" at an image size, with interval or rounds."""
    entry = timing_entry(record, device, pixels, clock=clock)
    if entry is None:
        return missing(_untimed(record, device, pixels))
    speed: float = entry["images_per_s"]
    low, high = entry.get("images_per_s_low"), entry.get("images_per_s_high")
    interval = None if low is None or high is None else (low, high)
    rounds = len(entry.get("rounds") or [])
    text = with_interval(significant(speed), low, high, significant)
    return Value(
        number=speed,
        text=text if interval else f"{text} ({rounds} round{'' if rounds == 1 else 's'})",
        device=one_line(entry.get("device_name") or device),
        threads=threads_of(entry),
        setting=_timing_setting(record, entry),
        interval=interval,
    )


def threads_of(entry: Record) -> int | None:
    """Return the CPU threads of a timing or training; None on a GPU, where they do not matter."""
    return entry.get("threads") if entry.get("device") == "cpu" else None


def _timing_setting(record: Record, entry: Record) -> dict[str, Any]:
    # The CPU threads have no part in a GPU's speed.
    keys = ["threads"] if entry.get("device") == "cpu" else []
    keys += ["device_name", "batch_size", "image_size", "dtype", "memory_format", "mode"]
    setting = {key.replace("_", " "): entry.get(key) for key in keys}
    # Machines drift: what was not timed in turns is not compared.
    session = lookup(record, "session", "id")
    return {"machine": machine_of(record), "timing session": session, **setting}


def _untimed(record: Record, device: str, pixels: int) -> str:
    if lookup(record, "config", "timing") is False:
        return "timing was off"
    if record.get("timing_error"):
        return f"timing failed: {record['timing_error']}"
    timed = any(entry.get("device") == "cuda" for entry in record.get("timing") or [])
    if device == "cuda" and not timed and lookup(record, "training", "device") != "cuda":
        return no_cuda(record)
    return f"not timed at {pixels} pixels"


def no_cuda(record: Record) -> str:
    """Return why a run has no figure of a GPU."""
    if lookup(record, "config", "device") == "cpu":
        return "the run was kept to the CPU: --device cpu"
    return "no CUDA device on this machine"
