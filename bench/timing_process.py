"""Times one variant in a fresh process, with the allocator set before it starts.

Heap layout and allocator state differ from process to process and decide much of a CPU timing, so
nothing is ever timed in the sweep's own process. The new process imports and builds, says that it
is ready, and waits for its turn: several can do so at once while none is timed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from bench.config import RunConfig, build

START_S = 300.0
CASE_S = 600.0
# The CPU's allocator, CUDA's contexts and pinned memory, cuBLAS and cuDNN each say it their way.
MEMORY_SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


class TimingProcess:
    """A fresh process that waits to time one variant.

    Args:
        job: ``variant``, ``num_classes``, ``config``, ``cases``, ``plugins`` and ``images``.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        from bench.measure.memory import ALLOCATOR_ENVIRONMENT

        self.cases = len(job["cases"])
        self._folder = tempfile.TemporaryDirectory(prefix="paddy-bench-timing-")
        self._out = Path(self._folder.name) / "timing.json"
        self._errors = Path(self._folder.name) / "stderr.txt"
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.timing_process", str(self._out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env={**os.environ, **ALLOCATOR_ENVIRONMENT, "PYTHONPATH": path},
            )
        self._say(json.dumps(job))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended already; its exit code says why

    def wait_until_ready(self) -> None:
        """Return when it is ready, has ended, or has taken too long."""
        ready, deadline = _ready_file(self._out), time.monotonic() + START_S
        while not ready.exists() and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def measure(self) -> dict[str, Any]:
        """Let it time; what it found: ``cases`` (samples or ``out_of_memory``) or ``error``."""
        limit = START_S + self.cases * CASE_S
        self._say("go")
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self.close()
            return {"cases": [], "error": f"timing did not end within {limit:.0f} s"}
        if self._out.is_file():
            return json.loads(self._out.read_text(encoding="utf8"))
        text = self._errors.read_text(encoding="utf8", errors="replace").strip()
        last = (text.splitlines() or ["no message"])[-1]
        # The kernel kills what asks for more memory than there is.
        killed = code == -9
        return {
            "cases": [],
            "error": f"timing process ended with {code}: {last}",
            "killed": killed,
        }

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdin is not None:
            # What was not read is of no use any more.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


def _ready_file(out: Path) -> Path:
    return out.with_suffix(".ready")


# --- in the new process ----------------------------------------------------------------------


def main() -> None:
    """Read the job, build, wait for a line, time, write the outcome."""
    out = Path(sys.argv[1])
    job = json.loads(sys.stdin.readline())
    timer = Timer(job)
    _ready_file(out).touch()
    if not sys.stdin.readline():
        return
    part = out.with_suffix(".part")
    part.write_text(json.dumps({"cases": timer.run(), "error": None}), encoding="utf8")
    part.replace(out)


class Timer:
    """The model of a job and what its cases need."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        import variants
        from bench.build import build as build_model
        from bench.build import load_plugins
        from bench.measure import cases, throughput  # noqa: F401  (before its turn comes)

        self.config = _config(job["config"])
        load_plugins([Path(path) for path in job["plugins"]])
        self.job = job
        self.model, _ = build_model(variants.get(job["variant"]), job["num_classes"], self.config)

    def run(self) -> list[dict[str, Any]]:
        """Time every case; one that does not fit in memory says so instead of samples."""
        import torch

        from bench.measure.cases import Case
        from bench.measure.throughput import settings, time_case
        from bench.train.optim import choose_amp

        found = []
        for values in self.job["cases"]:
            case = Case(**values)
            device = torch.device(case.device)
            amp = choose_amp("auto" if case.amp else "off", device)
            torch.set_num_threads(case.threads)
            about = {"case": values, "about": settings(case, amp)}
            try:
                sample = time_case(self._step(case, device, amp), case)
                found.append({**about, "sample": sample})
            except (torch.OutOfMemoryError, MemoryError):
                found.append({**about, "out_of_memory": True})
            except RuntimeError as error:
                if not any(sign in str(error) for sign in MEMORY_SIGNS):
                    raise
                found.append({**about, "out_of_memory": True})
            if device.type == "cuda":
                torch.cuda.empty_cache()
        return found

    def _step(self, case: Any, device: Any, amp: str) -> Callable[[], object]:
        import torch

        form = torch.channels_last if case.channels_last else torch.contiguous_format
        self.model.to(device).to(memory_format=form)  # type: ignore[call-overload]
        shape = (case.batch_size, 3, case.image_size, case.image_size)
        random = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        images = random.to(device).contiguous(memory_format=form)
        if case.clock == "train":
            return self._training_step(images, amp)
        self.model.eval()
        if case.clock == "copy":
            host = random.contiguous(memory_format=form).pin_memory()
            return lambda: self._forward(host.to(device, non_blocking=True), amp)
        if case.clock == "pipeline":
            batch = self._pipeline(case, form)
            return lambda: self._forward(batch().to(device, non_blocking=True), amp)
        return lambda: self._forward(images, amp)

    def _forward(self, images: Any, amp: str) -> Any:
        import torch

        from bench.train.optim import AMP_TYPES

        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off"),
        ):
            return self.model(images)

    def _training_step(self, images: Any, amp: str) -> Callable[[], object]:
        import torch

        from bench.train.engine import make_optimizer, training_step
        from bench.train.optim import freeze_backbone, set_training

        if self.config.freeze_backbone:
            freeze_backbone(self.model)
        set_training(self.model, frozen=self.config.freeze_backbone)
        optimizer = make_optimizer(self.model, self.config)
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        scaler = torch.amp.GradScaler(images.device.type, enabled=amp == "fp16")
        criterion = torch.nn.CrossEntropyLoss()
        return lambda: training_step(
            self.model, images, labels,
            criterion=criterion, optimizer=optimizer, scaler=scaler, amp=amp,
        )  # fmt: skip

    def _pipeline(self, case: Any, form: Any) -> Callable[[], Any]:
        """Decodes the next batch of the job's images in as many threads as the case has."""
        import itertools
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np
        import torch

        from bench.build import normalisation
        from bench.data.images import load_rgb, square
        from bench.data.transforms import eval_transform

        transform = eval_transform(*normalisation(self.model))
        paths = itertools.cycle(self.job["images"])
        pool = ThreadPoolExecutor(case.threads)

        def decode(path: str) -> torch.Tensor:
            pixels = np.array(square(load_rgb(Path(path)), case.image_size))
            return transform(torch.from_numpy(pixels).permute(2, 0, 1))

        def batch() -> torch.Tensor:
            chosen = list(itertools.islice(paths, case.batch_size))
            return torch.stack(list(pool.map(decode, chosen))).contiguous(memory_format=form)

        return batch


def _config(values: Mapping[str, Any]) -> RunConfig:
    """The config of a record, for a model with random weights (timing needs no others)."""
    known = {field.name for field in attrs.fields(RunConfig)}
    paths = {name: Path(values[name]) for name in ("results_dir", "reports_dir")}
    plain = {**values, **paths, "data_dir": None, "weights": None, "pretrained": False}
    return build({name: value for name, value in plain.items() if name in known})


if __name__ == "__main__":
    main()
    # PyTorch's own clean-up takes nearly a second, in which the next process would wait.
    os._exit(0)
