"""Records of runs: a versioned schema, atomic writing, reading into plain dicts and a table."""

from bench.records.schema import SCHEMA, SCHEMA_VERSION
from bench.records.store import (
    align_fingerprints,
    latest_sweep,
    load_records,
    new_run_folder,
    select_records,
    tidy,
    to_frame,
    write_record,
)
from bench.system.files import write_json

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "align_fingerprints",
    "latest_sweep",
    "load_records",
    "new_run_folder",
    "select_records",
    "tidy",
    "to_frame",
    "write_json",
    "write_record",
]
