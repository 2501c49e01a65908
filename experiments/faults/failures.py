"""A sweep of ten variants: one raises, one runs out of memory at any size, one diverges.

The three are a plugin's and built for it: the lack of memory is PyTorch's error raised by hand. The
seven others must have good rows, the three an explanation each, in the terminal, the records and
the report.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.faults.common import bench, head, without_traceback
from experiments.record import Record, Row

NAME = "failures"
PLUGIN = """\
import torch
from torch import nn

from variants import Variant, register


class Planted(nn.Module):
    def __init__(self, num_classes, fault):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, num_classes)
        self.fault = fault

    def get_classifier(self):
        return self.head

    def forward(self, images):
        logits = self.head(self.layers(images))
        if not torch.is_grad_enabled() or not self.training:
            return logits
        if self.fault == "raises":
            raise ValueError("planted: this variant always raises")
        if self.fault == "memory":
            raise torch.OutOfMemoryError("planted: CUDA out of memory. Tried to allocate 2.00 GiB")
        return logits * float("inf")


def planted(name, fault):
    def build(num_classes, dropout=0.0, reduction=None):
        return Planted(num_classes, fault)

    register(Variant(name=name, backbone="planted", build=build, group="planted"))


planted("Planted_Raises", "raises")
planted("Planted_Memory", "memory")
planted("Planted_Diverges", "diverges")
"""
FAULTS = {
    "Planted_Raises": "planted: this variant always raises",
    "Planted_Memory": "give a smaller --batch-size or --image-size",
    "Planted_Diverges": "the training loss is",
}
OPTIONS = (
    "--no-timing", "--epochs", "1", "--batch-size", "16", "--image-size", "64",
    "--synthetic-images", "120", "--num-workers", "0",
)  # fmt: skip


def run(quick: bool) -> dict[str, Any]:
    """Run and report; ``quick``: one good variant beside the three, 60 images at 32 pixels."""
    good = "MobileNetV3_Small" if quick else "all"
    # The faulty ones first: what they leave behind meets all others.
    asked = ",".join([*FAULTS, good])
    options = [*OPTIONS, *(["--synthetic-images", "60", "--image-size", "32"] if quick else [])]
    record = head(NAME, quick, None, {"variants": asked, "options": " ".join(options)})
    with tempfile.TemporaryDirectory(prefix="paddy-bench-failures-") as name:
        folder = Path(name)
        (folder / "planted.py").write_text(PLUGIN, "utf8")
        cache = folder / "cache"
        command = ["run", "--variants", asked, "--plugin", "planted.py", *options]
        ended = bench(command, folder, cache=cache)
        reported = bench(["report"], folder, cache=cache)
        report = Path(folder / reported.out.strip().splitlines()[-1]).read_text("utf8")
        runs = [json.loads(p.read_text("utf8")) for p in folder.glob("results/*/run.json")]
    return {
        **record,
        "code": ended.code,
        "last_line": (ended.out.strip().splitlines() or [""])[-1],
        "traceback": not without_traceback(ended),
        "report_code": reported.code,
        "runs": {
            one["variant"]["name"]: {
                "status": one["status"],
                "message": (one["error"] or {}).get("message"),
                "accuracy": (one["validation"] or {}).get("accuracy"),
                "parts": (one["training"] or {}).get("accumulation_parts"),
                "in_report": one["variant"]["name"] in report,
            }
            for one in runs
        },
        "explained_in_report": [name for name, text in FAULTS.items() if text in report],
    }


def rows(record: Record) -> list[Row]:
    """Good rows, explained rows, exit code and last line."""
    runs = record["runs"]
    good = [name for name, one in runs.items() if name not in FAULTS]
    rows_good = [
        name for name in good if runs[name]["status"] == "complete" and runs[name]["in_report"]
    ]
    explained = [
        name
        for name, text in FAULTS.items()
        if name in runs and runs[name]["status"] == "failed" and text in runs[name]["message"]
    ]
    named = all(name in record["last_line"] for name in FAULTS)
    made = f"run --variants {record['parameters']['variants']} {record['parameters']['options']}"
    return [
        Row(
            "Good rows beside three faulty variants",
            f"{len(good)}",
            f"{len(rows_good)}",
            len(rows_good) == len(good) and bool(good),
            made,
        ),
        Row(
            "Faulty variants that their record and the report explain",
            f"{len(FAULTS)}",
            f"{len(explained)} in records, {len(record['explained_in_report'])} in the report",
            len(explained) == len(record["explained_in_report"]) == len(FAULTS),
            made,
        ),
        Row(
            "Exit code, and a last line that says which",
            "1, all three named",
            f"{record['code']}, “{record['last_line']}”",
            record["code"] == 1 and named and not record["traceback"],
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every run."""
    cells = [
        [
            name,
            one["status"],
            "–" if one["accuracy"] is None else f"{one['accuracy']:.3f}",
            "–" if one["parts"] is None else str(one["parts"]),
            one["message"] or "–",
        ]
        for name, one in sorted(record["runs"].items())
    ]
    header = ["variant", "status", "validation accuracy", "parts of a batch", "error"]
    return [("Every run of the sweep.", header, cells)]
