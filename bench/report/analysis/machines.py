"""Tells the machines, data and image sizes of a report's runs apart where there are several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.validity import Record
from bench.report.analysis.values import counted
from bench.report.render.markdown import one_line

MUCH_LOAD = 0.10


def machine_of(record: Record) -> str | None:
    """Return what tells a record's machine from others: hash of its name, CPU and device."""
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

    columns: Mapping[str, Mapping[str, str]]
    legend: str

    def headings(self) -> list[str]:
        """Return headings of the columns."""
        return list(self.columns)

    def cells(self, record: Record) -> list[str]:
        """Return a run's cells in these columns."""
        return [
            texts.get(KINDS[heading](record) or "", "n/a")
            for heading, texts in self.columns.items()
        ]

    def of(self, heading: str, record: Record) -> str | None:
        """Return a run's text in one column, None where there is no such column."""
        return dict(zip(self.columns, self.cells(record), strict=True)).get(heading)


def _data_of(record: Record) -> str | None:
    fingerprint = lookup(record, "data", "fingerprint")
    return one_line(fingerprint) if fingerprint else None


def _size_of(record: Record) -> str | None:
    size = lookup(record, "config", "image_size")
    return None if size is None else str(size)


KINDS: dict[str, Callable[[Record], str | None]] = {
    "Machine": machine_of,
    "Data": _data_of,
    "Image size": _size_of,
}


def labels(records: Sequence[Record]) -> Labels:
    """Return the columns that these runs need so that none is mistaken for another's like."""
    columns, legend = {}, []
    for heading, key_of in KINDS.items():
        first: dict[str, Record] = {}
        for record in records:
            if (key := key_of(record)) is not None:
                first.setdefault(key, record)
        if len(first) < 2:
            continue
        if heading == "Image size":
            columns[heading] = {key: key for key in first}
            continue
        columns[heading] = {key: f"{heading[0]}{n}" for n, key in enumerate(first, start=1)}
        legend += [
            f"{columns[heading][key]}: {_described(heading, record)}"
            for key, record in first.items()
        ]
    return Labels(columns, f"{'; '.join(legend)}." if legend else "")


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
    """Return name and description of every machine, for the list that opens a report."""
    machines: dict[str, list[Record]] = {}
    for record in records:
        if key := machine_of(record):
            machines.setdefault(key, []).append(record["environment"])
    lines = []
    for number, environments in enumerate(machines.values(), start=1):
        suffix = f" M{number}" if len(machines) > 1 else ""
        lines.append((f"Machine{suffix}", _machine_text(environments)))
        gpus = dict.fromkeys(filter(None, map(_gpu_text, environments)))
        lines += [(f"GPU{suffix}", text) for text in gpus]
    return lines


def _machine_text(environments: Sequence[Record]) -> str:
    def recorded(key: str, text: Callable[[Any], str] = str) -> str:
        values = [entry[key] for entry in environments if entry.get(key) is not None]
        return " / ".join(map(one_line, dict.fromkeys(map(text, values))))

    loads = [
        f"{_span(environments, f'load_{when}', _percent, ' %') or 'not measured'} {when}"
        for when in ("before", "after")
    ]
    parts = [
        recorded("machine"),
        recorded("cpu_model", "CPU {}".format),
        recorded("cores", lambda count: counted(count, "core")),
        recorded("affinity", lambda cores: f"affinity {_numbers(cores)}"),
        recorded("threads", lambda count: counted(count, "thread")),
        recorded("thread_settings", _settings_text),
        f"governor {recorded('governor') or 'unreadable'}",
        recorded("memory_gb", "{:.1f} GB memory".format),
        _span(environments, "memory_available_gb", "{:.1f}".format, " GB available at the start"),
        f"load by other programs {' and '.join(loads)} the runs",
    ]
    return ", ".join(part for part in parts if part)


def _settings_text(settings: Any) -> str:
    return ", ".join(
        f"{name} {'unset' if value is None else value}" for name, value in settings.items()
    )


def _numbers(cores: Sequence[int]) -> str:
    """Return ``0–3`` for a whole range, else all numbers."""
    if len(cores) > 2 and list(cores) == list(range(cores[0], cores[-1] + 1)):
        return f"{cores[0]}–{cores[-1]}"
    return ", ".join(map(str, cores))


def _span(
    environments: Sequence[Record], key: str, number: Callable[[float], str], unit: str
) -> str:
    values = [entry[key] for entry in environments if entry.get(key) is not None]
    if not values:
        return ""
    return "–".join(dict.fromkeys(map(number, (min(values), max(values))))) + unit


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def load_marks(record: Record) -> list[str]:
    """Return why a run's speeds may have suffered from others: their load before and after it."""
    environment = record.get("environment") or {}
    return [
        f"other programs used {_percent(environment[f'load_{when}'])} % of the machine {when} it"
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
