"""A sweep of ten variants: one raises, one runs out of memory at any size, one diverges.

The three are a plugin's and built for it: the lack of memory is PyTorch's error raised by hand. The
seven others must have good rows, the three an explanation each, in the terminal, the records and
the report.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.commands import read_records, run_bench
from experiments.rows import Row
from experiments.suite import Json, Record, Tables

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
    "--no-timing --epochs 1 --batch-size 16 --image-size 64 --synthetic-images 120 --num-workers 0"
)
# The faulty ones first: what they leave behind meets all others.
FAULTY = ",".join(FAULTS)
PARAMETERS = {"variants": f"{FAULTY},all", "options": OPTIONS}
QUICK = {
    "variants": f"{FAULTY},MobileNetV3_Small",
    "options": f"{OPTIONS} --synthetic-images 60 --image-size 32",
}


def measure(chosen: Record) -> Json:
    """Run and report."""
    options = ["--variants", chosen["variants"], *chosen["options"].split()]
    with tempfile.TemporaryDirectory(prefix="paddy-bench-failures-") as name:
        folder = Path(name)
        (folder / "planted.py").write_text(PLUGIN, "utf8")
        cache = folder / "cache"
        ended = run_bench(["run", *options, "--plugin", "planted.py"], folder, cache=cache)
        reported = run_bench(["report"], folder, cache=cache)
        report = Path(folder, reported.out.strip().splitlines()[-1]).read_text("utf8")
        runs = {record["variant"]["name"]: record for record in read_records(folder)}
    return {
        "code": ended.code,
        "last_line": (ended.out.strip().splitlines() or [""])[-1],
        "traceback": ended.traceback,
        "report_code": reported.code,
        "runs": {
            name: {
                "status": run["status"],
                "message": (run["error"] or {}).get("message"),
                "accuracy": (run["validation"] or {}).get("accuracy"),
                "parts": (run["training"] or {}).get("accumulation_parts"),
                "in_report": name in report,
            }
            for name, run in runs.items()
        },
        "explained_in_report": [name for name, text in FAULTS.items() if text in report],
    }


def rows(record: Record) -> list[Row]:
    """Good rows, explained rows, exit code and last line."""
    runs = record["runs"]
    good = [run for name, run in runs.items() if name not in FAULTS]
    reported = [run for run in good if run["status"] == "complete" and run["in_report"]]
    explained = [
        name
        for name, text in FAULTS.items()
        if name in runs and runs[name]["status"] == "failed" and text in runs[name]["message"]
    ]
    in_report = record["explained_in_report"]
    named = all(name in record["last_line"] for name in FAULTS)
    made = f"run --variants {record['parameters']['variants']} {record['parameters']['options']}"
    return [
        Row(
            "Good rows beside three faulty variants",
            f"{len(good)}",
            f"{len(reported)}",
            len(reported) == len(good) > 0,
            made,
        ),
        Row(
            "Faulty variants that their record and the report explain",
            f"{len(FAULTS)}",
            f"{len(explained)} in records, {len(in_report)} in the report",
            len(explained) == len(in_report) == len(FAULTS),
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


def details(record: Record) -> Tables:
    """Every run."""
    cells = [
        [
            name,
            run["status"],
            "–" if run["accuracy"] is None else f"{run['accuracy']:.3f}",
            "–" if run["parts"] is None else str(run["parts"]),
            run["message"] or "–",
        ]
        for name, run in sorted(record["runs"].items())
    ]
    header = ["variant", "status", "validation accuracy", "parts of a batch", "error"]
    return [("Every run of the sweep.", header, cells)]
