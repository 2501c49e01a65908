"""A timing process that is only played, for what is built on top of it."""

from __future__ import annotations

from typing import Any


class FakeTimingProcess:
    """Stands for a process: answers at once with planted seconds, and notes what it was asked."""

    log: list[tuple[str, list[int]]] = []
    waiting = 0
    most_waiting = 0
    seconds: dict[str, float] = {}
    failures: dict[str, dict[str, Any]] = {}
    full_above: dict[str, int] = {}
    broken_modes: dict[tuple[str, str], str] = {}
    images: list[str] = []
    groups: list[list[str]] = []
    jobs: list[dict[str, Any]] = []

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.closed = job, False
        FakeTimingProcess.jobs.append(job)
        FakeTimingProcess.images = [*FakeTimingProcess.images, *job["images"]]
        FakeTimingProcess.waiting += 1
        FakeTimingProcess.most_waiting = max(
            FakeTimingProcess.most_waiting, FakeTimingProcess.waiting
        )

    def wait_until_ready(self) -> None:
        pass

    @staticmethod
    def together(processes: dict[str, FakeTimingProcess]) -> dict[str, dict[str, Any]]:
        """Stands for ``measure_together``."""
        FakeTimingProcess.groups.append(list(processes))
        return {name: process.measure() for name, process in processes.items()}

    def measure(self) -> dict[str, Any]:
        name, _, _ = self.job["variant"].partition("@")
        FakeTimingProcess.log.append((name, [case["batch_size"] for case in self.job["cases"]]))
        if name in FakeTimingProcess.failures:
            return {"cases": [], **FakeTimingProcess.failures[name]}
        return {"cases": [self.one(name, case) for case in self.job["cases"]], "error": None}

    def one(self, name: str, case: dict[str, Any]) -> dict[str, Any]:
        kept = ("device", "clock", "regime", "image_size", "batch_size", "threads")
        about = {
            **{key: case[key] for key in kept},
            "device_name": "played CPU",
            "dtype": "float32",
            "memory_format": "channels_last" if case["channels_last"] else "contiguous",
            "mode": case["mode"],
            "inside_clock": case["clock"],
            "allocator": {"setting": "default"},
            "omp_wait_policy": None,
            "tf32": {"matmul": False, "convolution": True},
            "cudnn_benchmark": False,
        }
        if case["batch_size"] > FakeTimingProcess.full_above.get(name, 1000):
            return {"case": case, "about": about, "out_of_memory": True}
        known = self.job.get("failed", {}).get(str(self.job["cases"].index(case)))
        if reason := known or FakeTimingProcess.broken_modes.get((name, case["mode"])):
            return {"case": case, "about": about, "failed": reason}
        sample = {
            "block_seconds": [FakeTimingProcess.seconds.get(name, 0.01) * case["batch_size"]] * 3,
            "steps_per_block": 1,
            "step_seconds": [FakeTimingProcess.seconds.get(name, 0.01)]
            if case["regime"] == "latency"
            else [],
            "warmup_steps": 3,
            "minor_faults_per_step": 0.0,
            "others_load": 0.0,
            "peak_memory_mb": 100.0,
            "peak_memory_kind": "process resident",
            "mode_facts": {} if case["mode"] == "eager" else {"max_difference": 1e-6},
        }
        return {"case": case, "about": about, "sample": sample}

    def close(self) -> None:
        """As often as one likes."""
        FakeTimingProcess.waiting -= not self.closed
        self.closed = True
