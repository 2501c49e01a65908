"""Which run of a variant stands in the guide's tables, and what all captions say about the runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from bench.records.schema import lookup
from bench.report.analysis.machines import labels
from bench.report.analysis.timings import GUIDE_PIXELS, timing_entry
from bench.report.analysis.validity import Record, invalid_reason, once
from bench.report.analysis.values import Value, counted
from bench.report.render.markdown import one_line
from bench.stats.timing import FEWEST_ROUNDS


def variant_of(record: Record) -> str:
    """Return the name of a record's variant."""
    return one_line(lookup(record, "variant", "name") or "unnamed variant")


def seconds_of(record: Record, key: str = "started") -> float:
    """Return a record's time in seconds since 1970; 0 where it has no readable one."""
    return _since_1970(str(record.get(key)))


@lru_cache(maxsize=1 << 16)
def _since_1970(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


class Selection:
    """The records of a report, by variant in order of first appearance.

    ``labels`` tells machines, data and image sizes apart where the records have several;
    ``results`` holds what :func:`once` computed.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        self._by_variant: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            self._by_variant[variant_of(record)].append(record)
        self.results: dict[Any, Any] = {}
        self.labels = labels(self.records)
        self._invalid = {id(record): invalid_reason(record) for record in self.complete()}

    def variants(self) -> list[str]:
        """Return names of the variants that have a record."""
        return list(self._by_variant)

    @once
    def complete(self, variant: str | None = None) -> list[Record]:
        """Return the complete runs, of one variant or of all."""
        records = self.records if variant is None else self._by_variant.get(variant, [])
        return [record for record in records if record.get("status") == "complete"]

    def failed(self) -> list[Record]:
        """Return the runs that did not complete."""
        return [record for record in self.records if record.get("status") != "complete"]

    @once
    def chosen(self, variant: str) -> Record | None:
        """Return the variant's latest trained run, else its latest timed or failed one."""
        complete = self.complete(variant)
        trained = [record for record in complete if record.get("training")]
        return _latest(trained or complete or self._by_variant.get(variant, []))

    def timed(self, variant: str) -> Record | None:
        """Return the variant's latest complete run that has timings, else the chosen one.

        A session times a variant once, whatever the number of its seeds.
        """
        timed = [record for record in self.complete(variant) if record.get("timing")]
        return _latest(timed) or self.chosen(variant)

    def invalid(self, record: Record) -> str | None:
        """Return why a run's numbers cannot be believed, or None."""
        return self._invalid.get(id(record))

    @once
    def of_sweep(self, sweep: str) -> Selection:
        """Return the records of one sweep alone."""
        return Selection([r for r in self.records if str(lookup(r, "sweep", "id")) == sweep])

    @once
    def data_note(self) -> str:
        """Return :func:`data_note` of all records."""
        return data_note(self.records)

    def shown(self) -> list[Record]:
        """Return the complete, valid run chosen for each variant: what figures are drawn from."""
        return self._usable(map(self.chosen, self._by_variant))

    def speeds(self) -> list[Record]:
        """Return the complete and valid run of each variant whose timings stand in tables."""
        return self._usable(map(self.timed, self._by_variant))

    def _usable(self, records: Iterable[Record | None]) -> list[Record]:
        return [
            record
            for record in records
            if record and record.get("status") == "complete" and self.invalid(record) is None
        ]


def _latest(records: Sequence[Record]) -> Record | None:
    # Of two runs with the same start the later record counts.
    return max(reversed(records), key=seconds_of, default=None)


# --- what captions say -----------------------------------------------------------------------


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return the values without repetitions, in order, without None."""
    return [value for value in dict.fromkeys(values) if value is not None]


def data_note(records: Sequence[Record]) -> str:
    """Name the data behind a table; synthetic data in capitals."""
    data = [record["data"] for record in records if record.get("data")]
    if not data:
        return ""
    synthetic = sum(bool(entry.get("synthetic")) for entry in data)
    kinds = distinct(
        f"{len(entry.get('classes') or [])} classes, {one_line(entry.get('layout'))}"
        for entry in data
    )
    text = f"Data: {'; '.join(kinds)}."
    if not synthetic:
        return text
    runs = "" if synthetic == len(data) else f", in {synthetic} of {len(data)} runs"
    return f"SYNTHETIC data, not photographs{runs}. {text}"


def run_note(selection: Selection) -> str:
    """Return how many runs stand behind each variant's figures."""
    counts = {name: len(selection.complete(name)) for name in selection.variants()}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items() if count > 1)
    if not listed:
        return f"One run for each variant, {seed_note(selection.complete())}."
    return (
        f"Accuracy: mean over the seeds of each variant's latest sweep; other figures: its latest "
        f"run (complete runs: {listed}; else one); "
        f"seeds of all runs: {seed_note(selection.complete())}."
    )


def seed_note(records: Sequence[Record]) -> str:
    """Return ``1 seed (0)``."""
    seeds = distinct(lookup(record, "config", "seed") for record in records)
    if not seeds:
        return "no seed recorded"
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))})"


def timing_note(records: Sequence[Record], *, at_run_size: bool = False) -> str:
    """Describe the settings of the inference images/s that stand in a table.

    Args:
        records: of the table.
        at_run_size: whether it has speeds at the run's size too, beside those at 224 pixels.
    """
    entries = [entry for record in records for entry in _in_cells(record, at_run_size)]
    if not entries:
        return "Inference was not timed."
    sizes = sorted({entry["image_size"] for entry in entries if entry.get("image_size")})
    rounds = [entry.get("rounds") or [] for entry in entries]
    blocks = [len(one.get("block_seconds") or []) for each in rounds for one in each]
    warmup = _span(entry.get("warmup_steps") for entry in entries)
    return caption(
        f"Inference images/s, median over {_span(map(len, rounds))} "
        f"round{'' if max(map(len, rounds)) == 1 else 's'} (each in a fresh process, "
        f"{_span(blocks)} blocks after {warmup} warm-up steps), 95 % interval over the rounds "
        f"from {FEWEST_ROUNDS} on, at {' and '.join(map(str, sizes))} pixels: "
        f"{_first_of(map(_timing, entries), 4)}.",
        f"Allocator: {'; '.join(distinct(map(_allocator, entries)))}.",
        _lowered(records),
    )


def _timing(entry: Record) -> str:
    cpu = entry.get("device") == "cpu"
    threads = f", {counted(entry.get('threads') or 0, 'thread')}" if cpu else ""
    return (
        f"{'CPU' if cpu else 'GPU'} {one_line(entry.get('device_name'))}, "
        f"batch {entry.get('batch_size')}, {entry.get('dtype')}, {entry.get('memory_format')}, "
        f"{entry.get('mode')}{threads}, inside the clock: {entry.get('inside_clock')}"
    )


def _first_of(settings: Iterable[str | None], most: int) -> str:
    """List the distinct settings, with the number of those beyond the first ``most``."""
    listed = distinct(settings)
    others = len(listed) - most
    return "; ".join(listed[:most]) + (f" (and {others} other settings)" if others > 0 else "")


def _in_cells(record: Record, at_run_size: bool) -> list[Record]:
    """Return the timings that stand in cells: of several numbers of threads the one with most."""
    sizes = [GUIDE_PIXELS]
    if at_run_size:
        sizes.append(int(lookup(record, "config", "image_size") or GUIDE_PIXELS))
    entries = [
        timing_entry(record, device, size) for device in ("cpu", "cuda") for size in distinct(sizes)
    ]
    return [entry for entry in entries if entry is not None]


def _allocator(entry: Record) -> str:
    values = dict(entry.get("allocator") or {})
    setting = values.pop("setting", None) or "not recorded"
    return one_line(f"{setting} {' '.join(f'{name}={value}' for name, value in values.items())}")


def _lowered(records: Sequence[Record]) -> str:
    """Return which model's memory lowered the batch of all."""
    changes = distinct(
        f"batch {item.get('to')} instead of {item.get('from')} for all variants, because "
        f"{one_line(item.get('variant'))} failed with it: {one_line(item.get('reason'))}"
        for record in records
        for item in lookup(record, "session", "lowered_batch") or []
    )
    return f"Lowered: {'; '.join(changes)}." if changes else ""


def training_note(records: Sequence[Record]) -> str:
    """Describe the settings of the training images/s of a table."""
    settings = _first_of((_training(record) for record in records if record.get("training")), 3)
    if not settings:
        return ""
    return (
        f"Training images/s: {settings}. Images of all epochs over the "
        "seconds of their training steps: validation is left out."
    )


def _training(record: Record) -> str:
    training, config = record["training"], record.get("config") or {}
    cpu = training.get("device") == "cpu"
    threads = lookup(record, "environment", "threads") if cpu else None
    place = Value(device=one_line(training.get("device_name")), threads=threads).place()
    text = (
        f"{place}, batch {config.get('batch_size')}, {config.get('image_size')} pixels, "
        f"mixed precision {training.get('amp')}"
    )
    group = lookup(training, "setup", "team")
    if isinstance(group, Mapping):
        processes, machines = (one_line(group.get(name)) for name in ("processes", "machines"))
        text += f", {processes} processes on {machines} machines"
    return text


def _span(values: Iterable[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int)]
    if not numbers:
        return "an unrecorded number of"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def caption(*parts: str) -> str:
    """Return the parts that are not empty, joined."""
    return " ".join(part for part in parts if part)
