"""What ``report`` and ``compare`` do with the records of a folder; no PyTorch behind them."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import variants
from bench.asked import resolved_options
from bench.errors import BenchError


def report(parsed: Namespace, command_line: str) -> int:
    """Render records; imports no PyTorch."""
    config = resolved_options(parsed).config
    from bench.report import render
    from bench.report.claims_file import load_claims_file

    records, problems, sweep = _records(config.results_dir, parsed.runs, parsed.sweep)
    own = []
    if parsed.claims is not None:
        own = load_claims_file(parsed.claims, _known_variants(records))
    name = parsed.name or sweep or "runs"
    if Path(name).name != name or name in (".", ".."):
        raise BenchError(
            f"--name {name!r} must be a plain folder name: use --reports-dir for paths"
        )
    _refuse_file(config.reports_dir, name)
    path = render(
        records,
        config.reports_dir / name,
        title=name,
        problems=problems,
        own_claims=own,
        max_latency_ms=_positive(parsed.max_latency_ms, "--max-latency-ms"),
        max_size_mb=_positive(parsed.max_size_mb, "--max-size-mb"),
    )
    print(path)
    return 0


def compare(parsed: Namespace, command_line: str) -> int:
    """Compare variants of a sweep in the terminal; imports no PyTorch."""
    config = resolved_options(parsed).config
    from bench.report.comparing import compare_text

    records, _, _ = _records(config.results_dir, parsed.runs, parsed.sweep)
    print(compare_text(records, parsed.names))
    return 0


def _records(
    results_dir: Path, runs: list[str], sweep: str | None
) -> tuple[list[dict[str, Any]], list[str], str | None]:
    """Records of the named runs, of a sweep or of the latest one; problems; the sweep's id."""
    from bench.results import latest_sweep, load_records

    records, problems = load_records(results_dir, runs)
    for line in problems:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise BenchError(
            f"no readable records in {results_dir}: run something first "
            "(python -m bench run --preset smoke)"
        )
    if runs:
        return records, problems, None
    chosen = sweep or latest_sweep(records)
    known = sorted({record["sweep"]["id"] for record in records})
    records = [record for record in records if record["sweep"]["id"] == chosen]
    if not records:
        raise BenchError(f"no sweep {chosen!r} in {results_dir}: {', '.join(known)}")
    return records, problems, chosen


def _known_variants(records: list[dict[str, Any]]) -> list[str]:
    return sorted({*variants.names(), *(record["variant"]["name"] for record in records)})


def _positive(text: str | None, flag: str) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise BenchError(f"{flag} must be a number, not {text!r}") from error
    if not 0 < number < float("inf"):
        raise BenchError(f"{flag} must be a finite number above 0: {text}")
    return number


def _refuse_file(reports_dir: Path, name: str) -> None:
    for path in (reports_dir, reports_dir / name):
        if path.exists() and not path.is_dir():
            raise BenchError(f"{path} is a file: give --reports-dir or --name a folder's name")
