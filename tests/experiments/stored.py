"""Records of quick runs that are kept beside the tests, and how a new record is held to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from bench.data.index import SYNTHETIC_MARKER
from bench.data.synthetic.dataset import CLASSES, class_counts
from experiments.suite import Suite
from experiments.suites import CALIBRATION, FAULTS, SCALE, SPEED

RECORDS = Path(__file__).parent / "records"
SUITES = {suite.name: suite for suite in (CALIBRATION, FAULTS, SCALE, SPEED)}


def keys(value: Any, place: str = "") -> set[str]:
    """Every key below, with the keys above it; all entries of a list as one."""
    if isinstance(value, dict):
        found = [keys(below, f"{place}.{name}") for name, below in value.items()]
    elif isinstance(value, list):
        found = [keys(below, f"{place}[]") for below in value]
    else:
        return {place}
    return set().union(*found)


def grey_pool(cache: Path, images: int, seed: int) -> Path:
    """Tiny pictures instead of drawn ones."""
    root = cache / f"pool-{images}"
    for name, count in zip(CLASSES, class_counts(images), strict=True):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            level = number % 256
            Image.new("RGB", (8, 6), (level, 0, 0)).save(root / name / f"{number:05}.jpg")
    (root / SYNTHETIC_MARKER).write_text("{}")
    return root


def run_quick(suite: Suite, name: str, folder: Path) -> tuple[dict[str, Any], int]:
    """Measure, record and render; the record, which must be made as the stored one is, and code."""
    code = suite.main([name, "--quick", "--out", str(folder)])
    record = json.loads((folder / f"{name}.json").read_text("utf8"))
    kept = json.loads((RECORDS / suite.name / f"{name}.json").read_text("utf8"))
    # Which packages are there is no matter of the experiment.
    record_keys, kept_keys = (keys({**one, "versions": None}) for one in (record, kept))
    assert record_keys == kept_keys
    assert record["quick"]
    assert record["command"] == f"python -m experiments.{suite.name} {name}"
    assert record["seconds"] > 0
    assert record["machine"]["cores"] >= 1
    text = (folder / "README.md").read_text("utf8")
    assert "QUICK RUN" in text
    assert f"## {name}" in text
    return record, code
