"""Which settings a session times: device, clock, image size, batch, threads, precision."""

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
    """The cases of a session, training steps last since they change the model.

    At the run's image size: all clocks, and on a CPU the model with one thread too. At 224 pixels,
    which the documented speeds are for: the model with all threads. A CPU has no copy to time, and
    beside a GPU it is timed with the model alone.

    The other modes of inference that are asked for are timed at the run's size with all threads,
    the model alone. Eager, which they are related to, is always timed, right before them.
    """
    found = [
        case
        for device in devices
        for case in _of_device(config, device, cores)
        if device == "cuda" or "cuda" not in devices or case.clock == "model"
    ]
    related = {_eager(case) for case in found if case.mode != EAGER}

    def place(case: Case) -> int:
        if case.clock == "train":
            return 3
        if case.mode != EAGER:
            return 2
        return int(_eager(case) in related)

    return sorted(found, key=place)


def _of_device(config: RunConfig, device: str, cores: int) -> Iterator[Case]:
    threads = config.threads or cores
    precisions = {"off": [False], "on": [True], "both": [False, True]}[config.timing_amp]
    for amp in precisions if device == "cuda" else [False]:
        shared: dict[str, Any] = {
            "device": device,
            "amp": amp,
            "channels_last": config.memory_format_on(device) == "channels_last",
        }
        for clock in config.clock_names:
            if clock == "copy" and device == "cpu":
                continue
            for size, number in _sizes(config, device, clock, threads):
                both = (LATENCY, THROUGHPUT) if clock == "model" else (THROUGHPUT,)
                for regime in both:
                    case = Case(
                        clock=clock,
                        regime=regime,
                        image_size=size,
                        batch_size=1 if regime == LATENCY else config.timing_batch,
                        threads=number,
                        **shared,
                    )
                    yield case
                    if clock == "model" and (size, number) == (config.image_size, threads):
                        yield from _in_other_modes(case, config)


def _in_other_modes(case: Case, config: RunConfig) -> Iterator[Case]:
    """The case in every mode that is asked for beside eager."""
    for mode in config.mode_names:
        # Eager has one of the two memory formats already.
        if mode not in (EAGER, CHANNELS_LAST if case.channels_last else CONTIGUOUS):
            of_torch = case.channels_last and mode not in (CONTIGUOUS, *EXPORTED)
            yield attrs.evolve(case, mode=mode, channels_last=of_torch or mode == CHANNELS_LAST)


def _sizes(config: RunConfig, device: str, clock: str, threads: int) -> list[tuple[int, int]]:
    own = [(config.image_size, threads)]
    if clock != "model":
        return own
    if device == "cpu" and threads > 1:
        own.append((config.image_size, 1))
    if config.image_size != REFERENCE_SIZE:
        own.append((REFERENCE_SIZE, threads))
    return own


def is_eager_of(eager: Case, case: Case) -> bool:
    """Whether the first is the same case run eagerly, whatever the memory format."""
    return eager.mode == EAGER and _eager(eager) == _eager(case)


def _eager(case: Case) -> Case:
    return attrs.evolve(case, mode=EAGER, channels_last=False)
