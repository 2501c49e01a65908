"""The inference speed of a run as one figure: which of its timings, with interval and setting."""

from __future__ import annotations

from typing import Any

from bench.report.gates import Record
from bench.report.machines import machine_of
from bench.report.markdown import one_line
from bench.report.timed import eager
from bench.report.values import Value, missing, significant

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
