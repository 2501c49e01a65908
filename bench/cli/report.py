"""The commands ``report`` and ``compare``; neither imports PyTorch."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import variants
from bench import LANGUAGES
from bench.cli.parsing import Parser, add_json, add_options
from bench.cli.request import no_garbage_collection, print_json, resolved_options
from bench.errors import BenchError


def add_report_arguments(parser: Parser) -> None:
    """Add the arguments of ``report``."""
    _add_records(parser)
    parser.add_argument("--name", help="name of the report's folder (default: the sweep's id)")
    parser.add_argument(
        "--claims",
        type=Path,
        metavar="FILE",
        help="your own claims (TOML), judged beside the guide's",
    )
    parser.add_argument(
        "--max-latency-ms", metavar="X", help="recommend the best within this latency at batch 1"
    )
    parser.add_argument(
        "--max-size-mb", metavar="X", help="recommend the best within this model size"
    )
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="leave the thumbnails of misclassified images out of report.html",
    )
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        default="en",
        help="language of report.md and report.html; CSV files and figures are English (default: "
        "en)",
    )
    add_options(parser, ["results_dir", "reports_dir"])


def add_compare_arguments(parser: Parser) -> None:
    """Add the arguments of ``compare``."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="VARIANT",
        help="the first is what the others are compared with (default: each variant with its "
        "baseline)",
    )
    _add_records(parser)
    add_options(parser, ["results_dir"])
    add_json(parser)


def _add_records(parser: Parser) -> None:
    parser.add_argument("--sweep", metavar="ID", help="which sweep (default: the latest)")
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="these run folders instead of a sweep"
    )


def report_command(parsed: Namespace, command_line: str) -> int:
    """Render the report of a sweep."""
    with no_garbage_collection():
        return _report(parsed)


def _report(parsed: Namespace) -> int:
    config = resolved_options(parsed).config
    from bench.records import select_records
    from bench.report.claims.claims_file import load_claims_file
    from bench.report.render.document import render

    records, problems, sweep, others = select_records(config.results_dir, parsed.runs, parsed.sweep)
    claims = []
    if parsed.claims is not None:
        claims = load_claims_file(parsed.claims, _known_variants(records))
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
        own_claims=claims,
        max_latency_ms=_positive(parsed.max_latency_ms, "--max-latency-ms"),
        max_size_mb=_positive(parsed.max_size_mb, "--max-size-mb"),
        pictures=_pictures(records) if parsed.pictures else None,
        others=others,
        lang=parsed.lang,
    )
    print(path)
    print(f"to look at: {path.with_name('report.html')}", file=sys.stderr)
    return 0


def compare_command(parsed: Namespace, command_line: str) -> int:
    """Print a comparison of variants of a sweep."""
    config = resolved_options(parsed).config
    from bench.records import select_records
    from bench.report.chapters.compare import compare_rows, compare_text

    records, *_ = select_records(config.results_dir, parsed.runs, parsed.sweep)
    if parsed.json:
        print_json(compare_rows(records, parsed.names))
    else:
        print(compare_text(records, parsed.names))
    return 0


def _pictures(records: list[dict[str, Any]]) -> Callable[[Any, str], Any]:
    """Return a function that opens images of runs: from their data folders, or drawn again."""
    from bench.report.render.thumbnails import open_picture

    seeds: dict[Any, set[Any]] = {}
    for record in records:
        seeds.setdefault(record["sweep"].get("id"), set()).add(record["config"].get("seed"))

    def of(record: Any, name: str) -> Any:
        data, config = record["data"], record["config"]
        folder = config.get("data_dir") if data.get("synthetic") else data.get("root")
        if folder is not None:
            return open_picture(Path(str(folder)), name, _row)
        if data.get("root") != "built-in synthetic set":
            return None
        used = seeds[record["sweep"].get("id")]
        # All seeds of a sweep share the images of its first one, which must be among them.
        if len(used) < (config.get("seeds") or 1) or not all(type(seed) is int for seed in used):
            return None
        from bench.data.synthetic.dataset import CLASSES, draw_image

        match = re.fullmatch(r"([a-z_]+)/([0-9]{1,9})\.jpg", name)
        if match is None or match[1] not in CLASSES or min(used) < 0:
            return None
        return draw_image(CLASSES.index(match[1]), int(match[2]), min(used))

    return of


def _row(path: Path, member: str) -> bytes:
    from bench.data.sources.arrow import contents

    start, size = contents(path)[member]
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


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
