"""The process that times one variant: ``python -m bench.timing.worker``.

It reads a job from standard input, imports and builds, answers that it is ready, and then answers
each line (``begin N``, ``block``, ``block after others``, ``end``) with a line of JSON.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from bench.config.options import RunConfig, build

# The CPU's allocator, CUDA's contexts and pinned memory, cuBLAS and cuDNN each say it their way.
MEMORY_SIGNS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def main() -> None:
    """Read the job, build, answer line after line until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what a plugin prints is no answer
    timer = Timer(json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(timer.answer(line.strip())), file=answers, flush=True)


class Timer:
    """The model of a job and what its cases need."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        import variants
        from bench.models.build import build as build_model
        from bench.models.build import load_plugins
        from bench.timing import timer as throughput  # noqa: F401  (before its turn comes)

        self.config = _config(job["config"])
        load_plugins([Path(path) for path in job["plugins"]])
        self.job = job
        self.model, _ = build_model(variants.get(job["variant"]), job["num_classes"], self.config)
        self._found: dict[str, Any] = {}
        self._timer: Any = None
        self._facts: dict[str, Any] = {}

    def answer(self, command: str) -> dict[str, Any]:
        """Do what a line asks for: ``begin`` says how many blocks, ``end`` what the case found."""
        if command.startswith("begin "):
            self._begin(command.split()[1])
            return {"blocks": 0 if self._timer is None else self._timer.planned}
        if command == "end":
            return self._end()
        if self._timer is not None:
            with self._memory():
                self._timer.block(after_others=command.endswith("after others"))
        return {}

    def _begin(self, number: str) -> None:
        import torch

        from bench.timing.cases import Case
        from bench.timing.timer import CaseTimer, settings
        from bench.train.optim import choose_amp

        values = self.job["cases"][int(number)]
        case = Case(**values)
        device = torch.device(case.device)
        amp = choose_amp("auto" if case.amp else "off", device)
        torch.set_num_threads(case.threads)
        self._found = {"case": values, "about": settings(case, amp)}
        self._facts = {}
        if number in self.job.get("failed", {}):
            self._found["failed"] = self.job["failed"][number]
            return
        with self._memory():
            self._timer = CaseTimer(self._step(case, device, amp), case)

    def _end(self) -> dict[str, Any]:
        import torch

        from bench.system.memory import give_back_memory

        found = self._found
        if self._timer is not None:
            found["sample"] = {**self._timer.sample(), "mode_facts": self._facts}
        self._timer, self._found = None, {}
        give_back_memory()
        if found["case"]["device"] == "cuda":
            torch.cuda.empty_cache()
        return found

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """A case that does not fit in memory, or a mode that fails, says so instead of a sample."""
        import torch

        try:
            yield
            return
        except (torch.OutOfMemoryError, MemoryError):
            pass
        except Exception as error:
            if not any(sign in str(error) for sign in MEMORY_SIGNS):
                self._fail(error)
                return
        self._found["out_of_memory"] = True
        self._timer = None

    def _fail(self, error: Exception) -> None:
        """Note why the mode of a case failed; eager has no reason to, so it raises."""
        from bench.timing.backends import reason_of
        from bench.timing.cases import EAGER

        if self._found["case"].get("mode", EAGER) == EAGER:
            raise error
        self._found["failed"] = reason_of(error)
        self._timer = None

    def _step(self, case: Any, device: Any, amp: str) -> Callable[[], object]:
        import torch

        from bench.timing.cases import EAGER

        form = torch.channels_last if case.channels_last else torch.contiguous_format
        shape = (case.batch_size, 3, case.image_size, case.image_size)
        random = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        self.model.to(device)
        if case.mode != EAGER:
            return self._in_mode(case, random.to(device), amp)
        self.model.to(memory_format=form)  # type: ignore[call-overload]
        images = random.to(device).contiguous(memory_format=form)
        if case.clock == "train":
            return self._training_step(images, amp)
        self.model.eval()
        if case.clock == "copy":
            host = random.contiguous(memory_format=form).pin_memory()
            return lambda: self._forward(host.to(device, non_blocking=True), amp)
        if case.clock == "pipeline":
            batch = self._pipeline(case, form)
            return lambda: self._forward(batch(), amp)
        return lambda: self._forward(images, amp)

    def _in_mode(self, case: Any, images: Any, amp: str) -> Callable[[], object]:
        """A step of another mode than eager."""
        import torch

        from bench.timing.backends import prepare_backend

        self.model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        exports = Path(self.job["exports"]) / self.job["variant"]
        forward = functools.partial(self._run, amp=amp)
        prepared = prepare_backend(self.model, exports, case, images, forward)
        self._facts = prepared.facts
        return prepared.step

    def _forward(self, images: Any, amp: str) -> Any:
        return self._run(self.model, images, amp)

    def _run(self, model: Any, images: Any, amp: str) -> Any:
        import torch

        from bench.train.optim import AMP_TYPES

        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off"),
        ):
            return model(images)

    def _training_step(self, images: Any, amp: str) -> Callable[[], object]:
        import torch

        from bench.train.loop import train_step
        from bench.train.optim import Optimization, freeze_backbone, set_training

        if self.config.freeze_backbone:
            freeze_backbone(self.model)
        set_training(self.model, frozen=self.config.freeze_backbone)
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        config = attrs.evolve(self.config, amp=amp)
        optim = Optimization.build(self.model, config, images.device)
        return lambda: train_step(optim, images, labels)

    def _pipeline(self, case: Any, form: Any) -> Callable[[], Any]:
        """Decodes the next batch of the job's images in as many threads as the case has."""
        import itertools
        from concurrent.futures import ThreadPoolExecutor

        import torch

        from bench.data.augment import finish_image
        from bench.data.dataset import Batch
        from bench.data.device import finish
        from bench.data.images import load_square
        from bench.data.transforms import level_table
        from bench.models.build import normalisation

        mean, std = normalisation(self.model)
        table, device = level_table(mean, std), torch.device(case.device)
        on_gpu = case.device == "cuda"
        shape = (case.batch_size, case.image_size, case.image_size, 3)
        labels = torch.zeros(case.batch_size, dtype=torch.int64)
        paths = itertools.cycle(self.job["images"])
        pool = ThreadPoolExecutor(case.threads)

        def batch() -> torch.Tensor:
            dtype = torch.uint8 if on_gpu else torch.float32
            images = torch.empty(shape, dtype=dtype, pin_memory=on_gpu)
            out = images.numpy()

            def fill(number: int, path: str) -> None:
                pixels = load_square(Path(path), case.image_size)
                if on_gpu:
                    out[number] = pixels
                else:
                    finish_image(pixels, table, out[number])

            chosen = itertools.islice(paths, case.batch_size)
            list(pool.map(fill, range(case.batch_size), chosen))
            if not on_gpu:
                images = images.permute(0, 3, 1, 2)
            return finish(Batch(images, labels, None), device, mean, std)[0].contiguous(
                memory_format=form
            )

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
