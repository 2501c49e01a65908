"""``python -m experiments.speed.paired FILE run …``: the command, with its limit measured in it.

Between two training steps of the sweep the same step is done once more on a batch that lies in
memory, and timed; after each evaluation the same forwards. So both sides meet the same machine,
which drifts by a quarter within a minute, and are one process and one model. What is done for the
comparison is timed, and taken off the command's time; FILE has it. A training has twice its steps
so: its accuracy is of no use.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.system.launch import sleep_soon


class Paired:
    """Stands in the place of the sweep's step and evaluation, and does each once more.

    Args:
        step: :func:`bench.train.loop.train_step`.
        evaluate: :func:`bench.train.evaluate.evaluate`.
        writing: whether the files of an epoch are being written: no step beside that takes its own
            time, and none of the limit is done then.

    Attributes:
        trainings: of each training in order: ``batch`` (images); seconds of its ``steps`` beside
            which nothing was written, and of the ``fixed`` ones after them; ``forwards``: seconds
            of an image in each evaluation of the fixed batch.
        seconds: what all this took.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        evaluate: Callable[..., Any],
        writing: Callable[[], bool],
    ) -> None:
        self.trainings: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._step, self._evaluate, self._writing = step, evaluate, writing
        self._optim: Callable[[], Any] = lambda: None
        self._batch: tuple[Any, Any] = (None, None)

    def step(self, optim: Any, images: Any, labels: Any, **how: Any) -> Any:
        """A training step, and one on the first batch of this training."""
        if self._optim() is not optim:
            # Not held: the sweep is to have its memory back.
            self._optim = weakref.ref(optim)
            self._batch = images.clone(), labels.clone()
            self.trainings.append({"batch": len(labels), "steps": [], "fixed": [], "forwards": []})
            return self._step(optim, images, labels, **how)
        begin = time.perf_counter()
        result = self._step(optim, images, labels, **how)
        middle = time.perf_counter()
        training = self.trainings[-1]
        if len(labels) == training["batch"] and not self._writing():
            self._step(optim, *self._batch, **how)
            end = time.perf_counter()
            training["steps"].append(middle - begin)
            training["fixed"].append(end - middle)
            self.seconds += end - middle
        return result

    def evaluate(self, model: Any, loader: Any, device: Any, *, prepare: Any, **how: Any) -> Any:
        """An evaluation, and one of as many images or a few more, all of them the fixed batch."""
        result = self._evaluate(model, loader, device, prepare=prepare, **how)
        begin, training = time.perf_counter(), self.trainings[-1]
        batches = [self._batch] * -(-len(result.labels) // training["batch"])
        self._evaluate(model, batches, device, prepare=lambda batch: batch, **how)
        seconds = time.perf_counter() - begin
        training["forwards"].append(seconds / (len(batches) * training["batch"]))
        self.seconds += seconds
        return result


def main() -> None:
    """Run the command, and end with its exit code."""
    file = Path(sys.argv.pop(1))
    sleep_soon()
    from bench.runner import run
    from bench.train import checkpoint, loop

    written: list[Any] = []

    class CheckpointManager(checkpoint.CheckpointManager):
        def epoch_ended(self, *args: Any, **how: Any) -> None:
            super().epoch_ended(*args, **how)
            written[:] = [self._pending]

    paired = Paired(
        loop.train_step,
        loop.evaluate,
        lambda: any(pending is not None and not pending.done() for pending in written),
    )
    loop.train_step = paired.step
    loop.evaluate = run.evaluate = paired.evaluate
    loop.CheckpointManager = CheckpointManager
    try:
        runpy.run_module("bench", run_name="__main__", alter_sys=True)
    finally:
        file.write_text(json.dumps({"seconds": paired.seconds, "trainings": paired.trainings}))


if __name__ == "__main__":
    main()
