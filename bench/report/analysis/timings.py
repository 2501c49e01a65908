"""Read a record's timings: the case of each, its rounds, and the one figure for a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs

from bench.report.analysis.machines import machine_of
from bench.report.analysis.validity import Record
from bench.report.analysis.values import Value, counted, fixed, missing, significant
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
        """The key of a record's timing entry."""
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
        """``CPU, model alone, batch 16, 224 pixels, 2 threads, float32``."""
        parts = [self.where(), CLOCK_WORDS.get(self.clock, self.clock), f"batch {self.batch_size}"]
        parts.append(f"{self.image_size} pixels")
        # The CPU threads have no part in a GPU's speed.
        if self.device == "cpu":
            parts.append(counted(self.threads, "thread"))
        parts.append(self.dtype)
        if self.memory_format != "contiguous":
            parts.append(one_line(self.memory_format).replace("_", "-"))
        return ", ".join(map(one_line, parts))

    def where(self) -> str:
        """``CPU`` or ``GPU``."""
        return "CPU" if self.device == "cpu" else "GPU"

    @property
    def latency(self) -> bool:
        """Whether the case is timed at batch 1 for its latency."""
        return self.regime == "latency"


def mode_of(entry: Mapping[str, Any]) -> str:
    """How the model was run: records that know of no other mode were eager."""
    return str(entry.get("mode") or EAGER)


def eager(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The timing entries of a record that were run eagerly: what all tables but one show."""
    return [entry for entry in record.get("timing") or [] if mode_of(entry) == EAGER]


def cases(
    entries: Iterable[Mapping[str, Any]], mode: str = EAGER
) -> dict[CaseKey, Mapping[str, Any]]:
    """The timing entries of one mode by case; of two with the same case the last."""
    return {CaseKey.of(entry): entry for entry in entries if mode_of(entry) == mode}


def blocks_of(entry: Mapping[str, Any] | None) -> dict[int, list[float]]:
    """Seconds of a step in each block of each round; rounds without a usable block are left out."""
    found = {}
    for number, part in enumerate((entry or {}).get("rounds") or []):
        blocks = [float(value) for value in part.get("block_seconds") or [] if _positive(value)]
        if blocks:
            found[part.get("round", number)] = blocks
    return found


def rounds_of(entry: Mapping[str, Any] | None) -> dict[int, float]:
    """Seconds of a step in each round: the median of its blocks."""
    return medians(blocks_of(entry))


def medians(blocks: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """The median of the blocks of each round."""
    return {number: statistics.median(seconds) for number, seconds in blocks.items()}


def step_seconds(entry: Mapping[str, Any]) -> list[float]:
    """Seconds of every step that was timed by itself, over all rounds."""
    parts = (part.get("step_seconds") or [] for part in entry.get("rounds") or [])
    return [float(value) for part in parts for value in part if _positive(value)]


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def too_few_rounds(rounds: int) -> str:
    """Why nothing is declared from so many rounds."""
    return f"undecided: {counted(rounds, 'round')}, an interval needs {FEWEST_ROUNDS}"


def latency_text(found: Location) -> str:
    """``9.87 [9.80–9.95]``, in ms."""
    text = significant(1000 * found.median)
    if found.low is None or found.high is None:
        return text
    return f"{text} [{significant(1000 * found.low)}–{significant(1000 * found.high)}]"


def images_text(found: Location, batch: int) -> str:
    """``345 [340–350]``, in images/s."""
    text = significant(batch / found.median)
    if found.low is None or found.high is None:
        return text
    return f"{text} [{significant(batch / found.high)}–{significant(batch / found.low)}]"


def ratio_text(ratio: Ratio | None) -> str:
    """``0.912 [0.905–0.919]``."""
    if ratio is None:
        return "n/a (no common round)"
    text = fixed(ratio.ratio, 3, least=3)
    if ratio.low is None or ratio.high is None:
        return f"{text} (no interval)"
    return f"{text} [{ratio_bound(ratio.low, 3)}–{ratio_bound(ratio.high, 3)}]"


def ratio_bound(number: float, places: int) -> str:
    """Of an interval without 1 no bound is written as 1."""
    if round(number, places) == 1:
        return apart(number, places, 1.0)
    return fixed(number, places, least=places)


def percent_text(share: float) -> str:
    """A share of speed in percent: ``3.5``, ``0.12``."""
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
    """The timing entry behind one of :data:`TIMINGS`, None where it was not timed."""
    devices, clock = TIMINGS[name]
    found = (timing_entry(record, device, GUIDE_PIXELS, clock=clock) for device in devices)
    return next((entry for entry in found if entry is not None), None)


def timed_value(record: Record, name: str) -> Value:
    """One of :data:`TIMINGS` as a figure."""
    devices, clock = TIMINGS[name]
    values = [throughput(record, device, GUIDE_PIXELS, clock=clock) for device in devices]
    return next((value for value in values if value.mark is None), values[-1])


def timing_entry(
    record: Record, device: str, pixels: int, *, clock: str = "model", regime: str = "throughput"
) -> Record | None:
    """The timing of a run that stands in tables: eager, float32 before others, most threads.

    Of two memory formats channels-last, that of training.

    Args:
        device: "cpu" or "cuda".
        pixels: image size.
        clock: what is inside the clock.
        regime: "throughput", or "latency" at batch 1.
    """
    wanted = {"device": device, "clock": clock, "regime": regime, "image_size": pixels}
    entries = [
        entry
        for entry in eager(record)
        if entry.get("images_per_s") is not None
        and all(entry.get(key) == value for key, value in wanted.items())
    ]
    if not entries:
        return None
    return max(
        entries,
        key=lambda entry: (
            entry.get("dtype") == "float32",
            entry.get("threads") or 0,
            entry.get("memory_format") == "channels_last",
        ),
    )


def fps_entry(record: Record) -> Record | None:
    """The timing behind ``fps`` of metrics.json: the training's device, the run's size."""
    device = (record.get("training") or {}).get("device")
    pixels = (record.get("config") or {}).get("image_size")
    return timing_entry(record, str(device), int(pixels or 0))


def throughput(record: Record, device: str, pixels: int, *, clock: str = "model") -> Value:
    """Images/s of a run on "cpu" or "cuda" at an image size, with interval or rounds."""
    entry = timing_entry(record, device, pixels, clock=clock)
    if entry is None:
        return missing(_untimed(record, device, pixels))
    low, high = entry.get("images_per_s_low"), entry.get("images_per_s_high")
    text, rounds = significant(entry["images_per_s"]), len(entry.get("rounds") or [])
    interval = None if low is None or high is None else (low, high)
    if interval:
        text += f" [{significant(interval[0])}–{significant(interval[1])}]"
    else:
        text += f" ({rounds} round{'' if rounds == 1 else 's'})"
    return Value(
        number=entry["images_per_s"],
        text=text,
        device=one_line(entry.get("device_name") or device),
        threads=threads_of(entry),
        setting=_timing_setting(record, entry),
        interval=interval,
    )


def threads_of(entry: Record) -> int | None:
    """CPU threads of a timing or a training; None on a GPU: they have no part in its speed."""
    return entry.get("threads") if entry.get("device") == "cpu" else None


def _timing_setting(record: Record, entry: Record) -> dict[str, Any]:
    # The CPU threads have no part in a GPU's speed.
    keys = ["threads"] if entry.get("device") == "cpu" else []
    keys += ["device_name", "batch_size", "image_size", "dtype", "memory_format", "mode"]
    setting = {key.replace("_", " "): entry.get(key) for key in keys}
    # Machines drift: what was not timed in turns is not compared.
    session = (record.get("session") or {}).get("id")
    return {"machine": machine_of(record), "timing session": session, **setting}


def _untimed(record: Record, device: str, pixels: int) -> str:
    if (record.get("config") or {}).get("timing") is False:
        return "timing was off"
    if record.get("timing_error"):
        return f"timing failed: {record['timing_error']}"
    timed = any(entry.get("device") == "cuda" for entry in record.get("timing") or [])
    if device == "cuda" and not timed and (record.get("training") or {}).get("device") != "cuda":
        return no_cuda(record)
    return f"not timed at {pixels} pixels"


def no_cuda(record: Record) -> str:
    """Why a run has no figure of a GPU."""
    if (record.get("config") or {}).get("device") == "cpu":
        return "the run was kept to the CPU: --device cpu"
    return "no CUDA device on this machine"
