"""``python -m experiments.speed``: run experiments, keep their records, render the tables."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.measure.environment import others_load
from bench.results import write_json
from experiments.speed import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named experiments (all by default); 1 where a bar is not met, 2 for a wrong name."""
    parser = argparse.ArgumentParser(prog="python -m experiments.speed", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(table.EXPERIMENTS)} (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/speed"), help="folder of the records"
    )
    parser.add_argument("--quick", action="store_true", help="tiny and few, to try it out")
    parser.add_argument("--table", action="store_true", help="render only, run nothing")
    options = parser.parse_args(arguments)
    try:
        modules = (
            []
            if options.table
            else [table.module_of(name) for name in options.names or table.EXPERIMENTS]
        )
        options.out.mkdir(parents=True, exist_ok=True)
        # Hours of measuring must not be lost to one experiment that breaks.
        broken = [module.NAME for module in modules if not _measure(module, options)]
        path, rows = table.render(options.out)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in rows:
        verdict = {True: "met", False: "NOT MET", None: "informs"}[row.met]
        print(f"{verdict:8} {row.bar}: {row.found} [{row.required}; {row.made}]")
    print(path)
    if broken:
        print(f"error: no record of {', '.join(broken)}: see above", file=sys.stderr)
        return 2
    return int(any(row.met is False for row in rows))


def _measure(module: Any, options: argparse.Namespace) -> bool:
    """Run an experiment and keep its record; whether it came to its end."""
    print(f"{module.NAME} …", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        record = module.run(options.quick)
    except BenchError as error:
        print(f"{module.NAME}: {error}", file=sys.stderr)
        return False
    except Exception:
        traceback.print_exc()
        return False
    record["seconds"] = time.perf_counter() - start
    record["machine"]["load_after"] = others_load()
    write_json(options.out / f"{module.NAME}.json", record)
    return True


if __name__ == "__main__":
    sys.exit(main())
