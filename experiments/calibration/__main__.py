"""``python -m experiments.calibration``: run experiments, keep their records, render the table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.results import write_json
from experiments.calibration import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named experiments (all by default); 1 where a bar is not met, 2 for a wrong name."""
    parser = argparse.ArgumentParser(prog="python -m experiments.calibration", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(table.EXPERIMENTS)} (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/calibration"), help="folder of the records"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, to try it out")
    parser.add_argument("--table", action="store_true", help="render only, run nothing")
    options = parser.parse_args(arguments)
    try:
        modules = (
            []
            if options.table
            else [table.module_of(name) for name in options.names or table.EXPERIMENTS]
        )
        options.out.mkdir(parents=True, exist_ok=True)
        for module in modules:
            print(f"{module.NAME} …", file=sys.stderr, flush=True)
            start = time.perf_counter()
            part = options.out / f"{module.NAME}.part.json"
            resumes = {"keep": part} if hasattr(module, "RESUMES") else {}
            record = module.run(options.quick, **resumes)
            record["seconds"] = time.perf_counter() - start
            write_json(options.out / f"{module.NAME}.json", record)
            part.unlink(missing_ok=True)
        path, rows = table.render(options.out)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in rows:
        verdict = {True: "met", False: "NOT MET", None: "informs"}[row.met]
        print(f"{verdict:8} {row.bar}: {row.found} [{row.required}; {row.made}]")
    print(path)
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
