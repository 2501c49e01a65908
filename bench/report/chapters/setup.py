"""What was run, on what and with which data; and what failed or was warned about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.records.schema import lookup
from bench.report.analysis.machines import machine_lines
from bench.report.analysis.selection import (
    Selection,
    caption,
    data_note,
    distinct,
    seed_note,
    variant_of,
)
from bench.report.analysis.validity import Record
from bench.report.analysis.values import counted, failure
from bench.report.chapters.speed import period
from bench.report.render.markdown import Table, escape, fence, one_line

VERSIONS = (
    "paddy_bench", "python", "torch", "torchvision", "timm", "fvcore", "numpy", "scipy", "pandas",
    "cuda", "cudnn",
)  # fmt: skip
PARTS = ("train", "valid", "test")


def header(selection: Selection, translate: Callable[[str], str] = str) -> str:
    """The list that opens a report: sweep, date, machine, versions, data, seeds, commands."""
    records = selection.records
    lines = [
        f"- **{translate(name)}:** {escape(translate(text))}"
        for name, text in header_items(selection)
    ]
    if any(lookup(record, "data", "synthetic") for record in records):
        warning = "SYNTHETIC data: drawn by a program, not photographs of plants."
        lines = [f"**{translate(warning)}**", "", *lines]
    if commands := commands_of(records):
        name = translate("Commands" if len(commands) > 1 else "Command")
        lines += [f"- **{name}:**", "", fence("\n".join(map(one_line, commands)))]
    return "\n".join(lines)


def header_items(selection: Selection) -> list[tuple[str, str]]:
    """Sweep, date, runs, machine, versions, data, training and seeds, each as name and text."""
    records = selection.records
    sweeps, presets = (
        ", ".join(map(str, distinct(lookup(record, "sweep", key) for record in records)))
        for key in ("id", "preset")
    )
    times = (record.get(key) for record in records for key in ("started", "finished"))
    legend = selection.labels.legend
    return [
        ("Sweep", sweeps or "not recorded"),
        ("Date", period(times) or "not recorded"),
        ("Runs", f"{len(selection.complete())} complete, {len(selection.failed())} failed"),
        ("Preset", presets or "none"),
        ("Device", _listed(_device, records) or "not recorded"),
        *machine_lines(records),
        ("Versions", _versions(records)),
        ("Source", _listed(_commit, records) or "commit not recorded"),
        ("Data", _listed(_data, records) or "not recorded"),
        ("Training", training_note(records)),
        ("Seeds", seed_note(records)),
        *([("Several", legend)] if legend else []),
    ]


def _listed(describe: Callable[[Record], str | None], records: Sequence[Record]) -> str:
    return "; ".join(distinct(map(describe, records)))


def commands_of(records: Sequence[Record]) -> list[str]:
    """The command lines, one for each sweep; the environment's where the sweep has none."""
    return distinct(
        lookup(record, "sweep", "command") or lookup(record, "environment", "command") or None
        for record in records
    )


def _device(record: Record) -> str | None:
    environment = record.get("environment") or {}
    name = lookup(record, "training", "device_name") or environment.get("device_name")
    if not name:
        return None
    cpu = environment.get("cpu_model")
    host = f", host CPU {cpu}" if cpu and cpu != name else ""
    cores, threads = (
        counted(environment[f"{noun}s"], noun)
        if environment.get(f"{noun}s")
        else f"{noun}s not recorded"
        for noun in ("core", "thread")
    )
    return f"{name}{host}, {cores}, {threads}"


def _versions(records: Sequence[Record]) -> str:
    keys = (*VERSIONS, "platform")
    # Run by run: ten thousand records are far apart in memory.
    rows = dict.fromkeys(
        tuple(map((record.get("environment") or {}).get, keys)) for record in records
    )
    columns = [distinct(column) for column in zip(*rows, strict=True)] or [[]] * len(keys)
    found = [
        f"{name} {' / '.join(map(str, values))}"
        for name, values in zip(VERSIONS, columns, strict=False)
        if values
    ]
    return ", ".join([*found, *map(str, columns[-1])]) or "not recorded"


def _commit(record: Record) -> str | None:
    environment = record.get("environment") or {}
    if not environment.get("git_commit"):
        return None
    changed = " with uncommitted changes" if environment.get("git_dirty") else ""
    return f"commit {environment['git_commit']}{changed}"


def training_note(records: Sequence[Record]) -> str:
    """Memory format, compilation and parts of a batch: what changes results beside the options."""
    variants: dict[str, list[str]] = {}
    for record in records:
        if record.get("training"):
            variants.setdefault(_trained(record), []).append(variant_of(record))
    if len(variants) < 2:
        return next(iter(variants), "not recorded")
    return "; ".join(f"{', '.join(distinct(names))}: {text}" for text, names in variants.items())


def _trained(record: Record) -> str:
    training, config = record.get("training") or {}, record.get("config") or {}
    setup = training.get("setup") or {}
    memory_format = one_line(setup.get("memory_format") or "not recorded").replace("_", "-")
    parts = [f"memory format {memory_format}"]
    forward = lookup(setup, "forward", "chosen") or "eager"
    if forward != "eager":
        parts.append(one_line(forward))
    if config.get("tune") == "auto":
        parts.append("chosen by a measurement (--tune auto)")
    divided = training.get("accumulation_parts") or 1
    if divided != 1:
        parts.append(f"batches in {divided} parts for want of memory")
        images = training.get("batch_norm_images")
        parts += [] if images is None else [f"BatchNorm over {counted(images, 'image')}"]
    return ", ".join(parts)


def _data(record: Record) -> str | None:
    data = record.get("data")
    if not data:
        return None
    used = data.get("used") or {}
    counts = ", ".join(f"{used.get(part, 0)} {part}" for part in PARTS)
    kind = "SYNTHETIC, " if data.get("synthetic") else ""
    return (
        f"{kind}layout {data.get('layout')}, {len(data.get('classes') or [])} classes, "
        f"images used: {counts}; {len(data.get('unreadable') or [])} unreadable; "
        f"fingerprint {str(data.get('fingerprint'))[:12]}"
    )


def class_tables(selection: Selection) -> list[Table]:
    """Images of each class in each part, a table for each different set of data."""
    tables: dict[str, Table] = {}
    for record in selection.records:
        data = record.get("data") or {}
        key = f"{data.get('fingerprint')} {data.get('counts')}"
        if not data.get("classes") or key in tables:
            continue
        counts = [lookup(data, "counts", part) or {} for part in PARTS]
        rows = [
            [one_line(name), *(str(images.get(name, 0)) for images in counts)]
            for name in data["classes"]
        ]
        rows.append(["all classes", *(str(sum(images.values())) for images in counts)])
        used = ", ".join(f"{lookup(data, 'used', part)} {part}" for part in PARTS)
        text = caption(
            data_note([record]),
            f"Images in each part; used after limits: {used}. "
            f"Unreadable and left out: {len(data.get('unreadable') or [])}.",
        )
        number = f"-{len(tables) + 1}" if tables else ""
        headers = ["Class", "Train", "Valid", "Test"]
        tables[key] = Table(f"data{number}", "Images by class", text, headers, rows)
    return list(tables.values())


def failures_table(selection: Selection) -> Table:
    """A row for each run that did not complete, with its error."""
    failed = selection.failed()
    rows = [
        [
            variant_of(record),
            str((record.get("config") or {}).get("seed", "n/a")),
            failure(record, limit=600),
        ]
        for record in failed
    ]
    headers = ["Variant", "Seed", "Error"]
    return Table("failures", "Failed runs", data_note(failed), headers, rows, csv=bool(rows))


def warnings_table(selection: Selection) -> Table:
    """The warnings of the runs, equal ones in one row."""
    variants: dict[str, list[str]] = {}
    for record in selection.records:
        for warning in record.get("warnings") or []:
            variants.setdefault(one_line(warning), []).append(variant_of(record))
    rows = [
        [warning, str(len(names)), ", ".join(distinct(names))]
        for warning, names in sorted(variants.items())
    ]
    headers = ["Warning", "Runs", "Variants"]
    text = selection.data_note() if rows else ""
    return Table("warnings", "Warnings", text, headers, rows, csv=bool(rows))


def problem_list(problems: Sequence[str], translate: Callable[[str], str] = str) -> str:
    """Records that could not be read, one line each."""
    lines = [f"- {escape(problem)}" for problem in problems] or [translate("None.")]
    return "\n".join([f"### {translate('Records that could not be read')}", "", *lines])
