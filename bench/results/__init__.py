"""Records of runs: a versioned schema, atomic writing, reading into plain dicts and a table."""

from bench.results.schema import SCHEMA, SCHEMA_VERSION
from bench.results.sealed import write_json
from bench.results.store import (
    align_fingerprints,
    latest_sweep,
    load_records,
    new_run_folder,
    tidy,
    to_frame,
    write_record,
)

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "align_fingerprints",
    "latest_sweep",
    "load_records",
    "new_run_folder",
    "tidy",
    "to_frame",
    "write_json",
    "write_record",
]
