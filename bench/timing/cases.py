"""Which settings a session times: device, scope, image size, batch, threads, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from bench.config.options import RunConfig

REFERENCE_SIZE = 224
LATENCY, THROUGHPUT = "latency", "throughput"
EAGER, CHANNELS_LAST, CONTIGUOUS = "eager", "channels-last", "contiguous"
# They run an exported copy, which has a layout of its own.
EXPORTED = ("onnxruntime", "onnxruntime-int8", "openvino")
INSIDE = {
    "model": "model only",
    "copy": "copy of the batch to the GPU, model",
    "pipeline": "decode, square, resize, normalise, copy, model",
    "train": "forward, backward, clipping, optimizer step",
}


@attrs.frozen(kw_only=True)
class Case:
    """One setting, the same for every variant of a session.

    Attributes:
        clock: one of :data:`bench.config.options.CLOCKS`.
        regime: ``latency`` (batch 1) or ``throughput``.
        image_size: S in pixels.
        batch_size: B.
        threads: of PyTorch on the CPU.
        amp: mixed precision.
        channels_last: memory format of model and images.
        mode: how the model is run, one of :data:`bench.config.options.MODES`.
    """

    device: str
    clock: str
    regime: str
    image_size: int
    batch_size: int
    threads: int
    amp: bool = False
    channels_last: bool = False
    mode: str = EAGER


def plan_cases(config: RunConfig, devices: Sequence[str], cores: int) -> list[Case]:
    """Return the cases of a session, training steps last since they change the model.

    At the run's image size: all scopes, and on a CPU the model with one thread too. At 224 pixels,
    which the documented speeds are for: the model with all threads. A CPU has no copy to time, and
    beside a GPU it is timed with the model alone.

    The other backends of inference that are asked for are timed at the run's size with all threads,
    the model alone. Eager, which they are related to, is always timed, right before them.
    """
    cases = [
        case
        for device in devices
        for case in _of_device(config, device, cores)
        if device == "cuda" or "cuda" not in devices or case.clock == "model"
    ]
    compared = {_eager(case) for case in cases if case.mode != EAGER}

    def position(case: Case) -> int:
        if case.clock == "train":
            return 3
        if case.mode != EAGER:
            return 2
        return int(_eager(case) in compared)

    return sorted(cases, key=position)


def _of_device(config: RunConfig, device: str, cores: int) -> Iterator[Case]:
    threads = config.threads or cores
    precisions = {"off": [False], "on": [True], "both": [False, True]}[config.timing_amp]
    for amp in precisions if device == "cuda" else [False]:
        shared: dict[str, Any] = {
            "device": device,
            "amp": amp,
            "channels_last": config.memory_format_on(device) == "channels_last",
        }
        for scope in config.clock_names:
            if scope == "copy" and device == "cpu":
                continue
            for size, number in _sizes(config, device, scope, threads):
                for regime in (LATENCY, THROUGHPUT) if scope == "model" else (THROUGHPUT,):
                    case = Case(
                        clock=scope,
                        regime=regime,
                        image_size=size,
                        batch_size=1 if regime == LATENCY else config.timing_batch,
                        threads=number,
                        **shared,
                    )
                    yield case
                    if scope == "model" and (size, number) == (config.image_size, threads):
                        yield from _by_other_backends(case, config)


def _by_other_backends(case: Case, config: RunConfig) -> Iterator[Case]:
    """Yield the case by every backend that is asked for but eager."""
    for backend in config.mode_names:
        # Eager has one of the two memory formats already.
        if backend not in (EAGER, CHANNELS_LAST if case.channels_last else CONTIGUOUS):
            inherited = case.channels_last and backend not in (CONTIGUOUS, *EXPORTED)
            last = inherited or backend == CHANNELS_LAST
            yield attrs.evolve(case, mode=backend, channels_last=last)


def _sizes(config: RunConfig, device: str, scope: str, threads: int) -> Iterator[tuple[int, int]]:
    """Yield image sizes and numbers of threads."""
    yield config.image_size, threads
    if scope == "model":
        if device == "cpu" and threads > 1:
            yield config.image_size, 1
        if config.image_size != REFERENCE_SIZE:
            yield REFERENCE_SIZE, threads


def is_eager_of(eager: Case, case: Case) -> bool:
    """Whether the first is the same case run eagerly, whatever the memory format."""
    return eager.mode == EAGER and _eager(eager) == _eager(case)


def _eager(case: Case) -> Case:
    return attrs.evolve(case, mode=EAGER, channels_last=False)
