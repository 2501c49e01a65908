"""Writes and reads the folders of runs under the results folder."""

from __future__ import annotations

import glob
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.records.quantised import read_quantised
from bench.records.schema import lookup, problem_of
from bench.system.files import write_sealed

RECORD = "run.json"
# What the folder of a run is called until it has its record.
NEW = ".new-"


def new_run_folder(
    results_dir: Path, variant: str, now: datetime, record: Mapping[str, Any]
) -> Path:
    """Create ``<Variant>_DD_MM_YYYY_HHMM`` with a record in it; ``_2``, ``_3`` … where it is taken.

    A folder is never there without its record, whenever the process is killed.

    Args:
        results_dir: made where it is not there.
        variant: its name.
        now: the local time.
        record: what ``run.json`` is to hold.

    Raises:
        OSError: it cannot be made.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    # The sweep's id tells whose it is, should a kill leave it.
    unfinished = Path(tempfile.mkdtemp(prefix=f"{NEW}{record['sweep']['id']}-", dir=results_dir))
    # Others may read what is in the results folder; a temporary one is its maker's alone.
    unfinished.chmod(results_dir.stat().st_mode & 0o777)
    try:
        write_record(unfinished, record)
        name = f"{variant}_{now:%d_%m_%Y_%H%M}"
        for number in count(1):
            folder = results_dir / (name if number == 1 else f"{name}_{number}")
            # An empty folder would be replaced, and it may be somebody's.
            if folder.exists():
                continue
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
                continue
            return folder
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    raise AssertionError("count() does not end")


def tidy(results_dir: Path, sweep: str) -> None:
    """Remove the half-made files and folders that a killed sweep has left.

    Args:
        results_dir: where its records are.
        sweep: its id; nobody may be running it.
    """
    for folder in results_dir.glob(f"{NEW}{glob.escape(sweep)}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    parts = [*results_dir.glob(f".sweep-{glob.escape(sweep)}.*.part")]
    for record in load_records(results_dir)[0] if results_dir.is_dir() else ():
        if record["sweep"]["id"] == sweep:
            folder = results_dir / record["folder"]
            parts += [*folder.glob("*.part"), *folder.glob(".*.part")]
            # Killed after its record was complete, before what a training goes on from was removed.
            parts += folder.glob("last*.pt") if record["status"] == "complete" else ()
    for path in parts:
        path.unlink(missing_ok=True)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` with its checksum, whole or not at all.

    Raises:
        OSError: it cannot be written; the previous one stays.
    """
    write_sealed(folder / RECORD, record)


def load_records(
    results_dir: Path, runs: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return all readable records, oldest first, each with its ``folder``; and what is unreadable.

    Args:
        results_dir: holds one folder for each run.
        runs: only these folders, by name or path; none: all.

    Raises:
        BenchError: no such folder, or a named run is not there.
    """
    if runs:
        folders = [run_folder(results_dir, run) for run in runs]
    elif results_dir.is_dir():
        folders = sorted(
            path.parent
            for path in results_dir.glob(f"*/{RECORD}")
            if not path.parent.name.startswith(NEW)
        )
    else:
        raise BenchError(
            f"no results folder {results_dir}: run something first (python -m bench run "
            "--preset smoke), or name the folder with --results-dir"
        )
    records, problems = [], []
    for folder in folders:
        try:
            records.append(read_record(folder))
        except UnreadableRecord as error:
            problems.append(f"{error}; it is left out")
    return sorted(records, key=lambda record: (record["started"], record["folder"])), problems


class UnreadableRecord(ValueError):
    """Which record cannot be read, why, and the mend."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run's folder, with its ``folder`` and its ``quantised`` file.

    Raises:
        UnreadableRecord: it cannot be read, is damaged, or of another version.
    """
    path = folder / RECORD
    try:
        data = path.read_bytes()
        record = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableRecord(f"{path} cannot be read ({type(error).__name__})") from error
    problem = problem_of(record, data)
    if problem is not None:
        raise UnreadableRecord(f"{path} {problem}")
    # What a record itself says of it is unchecked.
    record.pop("quantised", None)
    quantised = read_quantised(folder)
    return record | {"folder": folder.name} | ({"quantised": quantised} if quantised else {})


def run_folder(results_dir: Path, run: str) -> Path:
    """Return the folder of a run that is named by its name in ``results_dir`` or by a path.

    Raises:
        BenchError: it is not there.
    """
    for folder in (results_dir / run, Path(run)):
        if (folder / RECORD).is_file():
            return folder
    raise BenchError(f"no run {run!r} in {results_dir}: name a folder that holds {RECORD}")


def latest_sweep(records: Sequence[dict[str, Any]]) -> str | None:
    """Return the id of the sweep whose first run started last.

    Sweeps that trained come before those of ``bench time``, which have no accuracy to report.
    """
    first: dict[str, tuple[bool, str]] = {}
    for record in records:
        sweep = record["sweep"]["id"]
        timing_only = record["status"] == "complete" and record["training"] is None
        timing_only = timing_only or lookup(record, "error", "type") == "TimingError"
        key = (not timing_only, record["started"])
        first[sweep] = min(first.get(sweep, key), key)
    return max(first, key=lambda sweep: (first[sweep], sweep), default=None)


# Columns of a table of runs: where a record has them. Units stand in the names.
_COLUMNS = {
    "sweep": "sweep.id",
    "folder": "folder",
    "variant": "variant.name",
    "status": "status",
    "seed": "config.seed",
    "fold": "data.fold.number",
    "machine": "environment.machine",
    "device": "environment.device_name",
    "fingerprint": "data.fingerprint",
    "image_size": "config.image_size",
    "synthetic": "data.synthetic",
    "valid_acc": "metrics.valid_acc",
    "valid_loss": "metrics.valid_loss",
    "best_epoch": "metrics.best_epoch",
    "valid_macro_f1": "training.best_macro_f1",
    "test_acc": "test.accuracy",
    "test_macro_f1": "test.macro_f1",
    "images_per_s": "metrics.fps",
    "parameters": "counts.parameters",
    "size_mb": "counts.size_mb",
    "gmacs": "counts.macs",
    "training_seconds": "training.seconds",
}


def to_frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one row for each run with its headline figures."""
    rows = []
    for record in records:
        row = {name: lookup(record, *path.split(".")) for name, path in _COLUMNS.items()}
        gmacs = {entry["image_size"]: entry["gmacs"] for entry in row["gmacs"] or ()}
        rows.append({**row, "gmacs": gmacs.get(224)})
    return pd.DataFrame(rows)


def align_fingerprints(records: Sequence[dict[str, Any]]) -> list[str]:
    """Name data alike in records of both versions of the fingerprint, where they may be the same.

    Version 1 knew paths, sizes, labels, parts and groups; version 2 knows contents too. A newer
    record is named by version 1 where an older one has that, so that equal data do not pass for
    others. The records are changed.

    Returns:
        A line for each set of data of which older records cannot tell whether it is the same.
    """
    older: set[str] = set()
    newer: dict[str | None, list[dict[str, Any]]] = {}
    for record in records:
        data = record.get("data") or {}
        if data.get("fingerprint") and data.get("fingerprint_version", 1) > 1:
            newer.setdefault(data.get("listing_fingerprint"), []).append(record)
        elif data.get("fingerprint"):
            older.add(data["fingerprint"])
    lines = []
    for name in sorted(older & newer.keys()):
        contents = {record["data"]["fingerprint"] for record in newer[name]}
        if len(contents) > 1:
            lines.append(
                f"data {name[:12]} of older records may be any of {len(contents)} sets of other "
                "contents: kept apart"
            )
            continue
        for record in newer[name]:
            quantised = record.get("quantised") or {}
            if quantised.get("fingerprint") == record["data"]["fingerprint"]:
                quantised["fingerprint"] = name
            record["data"].update(fingerprint=name, fingerprint_version=1)
        lines.append(
            f"data {name[:12]}: older records know paths, sizes and labels of the images, not "
            "their contents; newer ones are compared with them by these"
        )
    return lines


def select_records(
    results_dir: Path, runs: list[str], sweep: str | None
) -> tuple[list[dict[str, Any]], list[str], str | None, list[dict[str, Any]]]:
    """Return records of named runs, a sweep or the latest; problems; the sweep's id; others.

    Raises:
        BenchError: there are none.
    """
    records, problems = load_records(results_dir, runs)
    for line in [*problems, *align_fingerprints(records)]:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise BenchError(
            f"no readable records in {results_dir}: run something first "
            "(python -m bench run --preset smoke)"
        )
    if runs:
        return records, problems, None, []
    chosen = sweep or latest_sweep(records)
    sweeps = sorted({record["sweep"]["id"] for record in records})
    others = [record for record in records if record["sweep"]["id"] != chosen]
    records = [record for record in records if record["sweep"]["id"] == chosen]
    if not records:
        raise BenchError(f"no sweep {chosen!r} in {results_dir}: {', '.join(sweeps)}")
    return records, problems, chosen, others
