"""Tells the machines, data and image sizes of a report's runs apart where there are several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from bench.report.analysis.validity import Record
from bench.report.analysis.values import counted
from bench.report.render.markdown import one_line

MUCH_LOAD = 0.10


def machine_of(record: Record) -> str | None:
    """What tells a record's machine from others: hash of its name, CPU and device."""
    environment = record.get("environment") or {}
    keys = ("machine", "cpu_model", "device_name")
    known = [one_line(environment[key]) for key in keys if environment.get(key)]
    return " ".join(known) or None


@attrs.frozen
class Labels:
    """Columns that tell runs apart: machine, data, image size; only those in which they differ.

    Attributes:
        columns: heading of each column and its text by key (:data:`KINDS`).
        legend: what the short names stand for; empty where all runs are alike.
    """

    columns: tuple[tuple[str, dict[str, str]], ...]
    legend: str

    def headings(self) -> list[str]:
        """Headings of the columns."""
        return [heading for heading, _ in self.columns]

    def cells(self, record: Record) -> list[str]:
        """A run's cells in these columns."""
        keys = dict(KINDS)
        return [texts.get(keys[heading](record) or "", "n/a") for heading, texts in self.columns]

    def of(self, heading: str, record: Record) -> str | None:
        """A run's text in one column, None where there is no such column."""
        return dict(zip(self.headings(), self.cells(record), strict=True)).get(heading)


def _data_of(record: Record) -> str | None:
    data = record.get("data") or {}
    return one_line(data["fingerprint"]) if data.get("fingerprint") else None


def _size_of(record: Record) -> str | None:
    size = (record.get("config") or {}).get("image_size")
    return None if size is None else str(size)


KINDS: tuple[tuple[str, Callable[[Record], str | None]], ...] = (
    ("Machine", machine_of),
    ("Data", _data_of),
    ("Image size", _size_of),
)


def labels(records: Sequence[Record]) -> Labels:
    """The columns that these runs need so that none of them is mistaken for another's like."""
    columns, legend = [], []
    for heading, key_of in KINDS:
        keys = [key for key in dict.fromkeys(map(key_of, records)) if key is not None]
        if len(keys) < 2:
            continue
        if heading == "Image size":
            columns.append((heading, {key: key for key in keys}))
            continue
        names = {key: f"{heading[0]}{number}" for number, key in enumerate(keys, start=1)}
        columns.append((heading, names))
        told = {key: record for record in reversed(records) if (key := key_of(record))}
        legend += [f"{names[key]}: {_described(heading, told[key])}" for key in keys]
    text = f"{'; '.join(legend)}." if legend else ""
    return Labels(tuple(columns), text)


def _described(heading: str, record: Record) -> str:
    if heading == "Machine":
        environment = record.get("environment") or {}
        name, cpu = environment.get("device_name"), environment.get("cpu_model")
        parts = [one_line(part) for part in dict.fromkeys((name, cpu)) if part]
        return f"machine {environment.get('machine')} ({', '.join(parts)})"
    data = record.get("data") or {}
    kind = "SYNTHETIC, " if data.get("synthetic") else ""
    return (
        f"data {str(data.get('fingerprint'))[:12]} ({kind}{len(data.get('classes') or [])} "
        f"classes, {one_line(data.get('layout'))})"
    )


# --- what the header says of a machine -------------------------------------------------------


def machine_lines(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Name and description of every machine in the records, for the list that opens a report."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if key := machine_of(record):
            found.setdefault(key, []).append(record)
    lines = []
    for number, of_machine in enumerate(found.values(), start=1):
        name = f"Machine M{number}" if len(found) > 1 else "Machine"
        lines.append((name, _machine_text([r["environment"] for r in of_machine])))
        gpus = dict.fromkeys(filter(None, (_gpu_text(r["environment"]) for r in of_machine)))
        lines += [(name.replace("Machine", "GPU"), text) for text in gpus]
    return lines


def _machine_text(environments: Sequence[Record]) -> str:
    def told(key: str, text: Callable[[Any], str] = str) -> str:
        values = [entry[key] for entry in environments if entry.get(key) is not None]
        return " / ".join(map(one_line, dict.fromkeys(text(value) for value in values)))

    settings = told("thread_settings", _settings_text)
    parts = [
        told("machine"),
        told("cpu_model", lambda name: f"CPU {name}"),
        told("cores", lambda count: counted(count, "core")),
        told("affinity", lambda cores: f"affinity {_numbers(cores)}"),
        told("threads", lambda count: counted(count, "thread")),
        settings,
        f"governor {told('governor') or 'unreadable'}",
        told("memory_gb", lambda size: f"{size:.1f} GB memory"),
        _span(environments, "memory_available_gb", "{:.1f}", " GB available at the start"),
        _load_text(environments),
    ]
    return ", ".join(part for part in parts if part)


def _settings_text(settings: Any) -> str:
    return ", ".join(
        f"{name} {'unset' if value is None else value}" for name, value in settings.items()
    )


def _numbers(cores: Sequence[int]) -> str:
    """``0–3`` for a whole range, else all numbers."""
    if len(cores) > 2 and list(cores) == list(range(cores[0], cores[-1] + 1)):
        return f"{cores[0]}–{cores[-1]}"
    return ", ".join(map(str, cores))


def _span(environments: Sequence[Record], key: str, form: str, unit: str) -> str:
    values = [entry[key] for entry in environments if entry.get(key) is not None]
    if not values:
        return ""
    low, high = form.format(min(values)), form.format(max(values))
    return (low if low == high else f"{low}–{high}") + unit


def _load_text(environments: Sequence[Record]) -> str:
    texts = []
    for when in ("before", "after"):
        loads = [
            {"percent": 100 * entry[f"load_{when}"]}
            for entry in environments
            if entry.get(f"load_{when}") is not None
        ]
        texts.append(f"{_span(loads, 'percent', '{:.0f}', ' %') or 'not measured'} {when}")
    return f"load by other programs {' and '.join(texts)} the runs"


def load_marks(record: Record) -> list[str]:
    """Why a run's speeds may have suffered from others: their load before and after it."""
    environment = record.get("environment") or {}
    return [
        f"other programs used {100 * environment[f'load_{when}']:.0f} % of the machine {when} it"
        for when in ("before", "after")
        if (environment.get(f"load_{when}") or 0) > MUCH_LOAD
    ]


def _gpu_text(environment: Record) -> str | None:
    gpu = environment.get("gpu")
    if not gpu:
        return None
    reasons = gpu.get("throttle_reasons")
    clocks = f"SM clock {_known(gpu.get('sm_clock_mhz'))} of {_known(gpu.get('max_sm_clock_mhz'))}"
    slowed = "not told" if reasons is None else ", ".join(reasons) or "none"
    memory = gpu.get("memory_mb")
    return one_line(
        f"{gpu.get('name')}, driver {_known(gpu.get('driver'))}, "
        f"{'n/a' if memory is None else f'{memory:,.0f}'} MB, {clocks} MHz, "
        f"{_known(gpu.get('temperature_c'))} °C, throttle reasons: {slowed}, "
        f"{_known(gpu.get('other_processes'))} other processes, "
        f"power limit {_known(gpu.get('power_limit_w'))} W"
    )


def _known(value: Any) -> str:
    return "n/a" if value is None else str(value)
