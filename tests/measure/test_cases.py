from __future__ import annotations

from collections import Counter

import pytest

from bench.config import RunConfig
from bench.measure.cases import plan_cases


def planned(devices: tuple[str, ...] = ("cpu",), cores: int = 4, **options) -> Counter:
    cases = plan_cases(RunConfig(**options), devices, cores)
    return Counter(
        (c.device, c.clock, c.regime, c.image_size, c.batch_size, c.threads) for c in cases
    )


def test_a_cpu_is_timed_in_both_regimes_with_one_and_all_threads() -> None:
    assert planned() == Counter(
        [
            ("cpu", "model", "latency", 224, 1, 4),
            ("cpu", "model", "throughput", 224, 16, 4),
            ("cpu", "model", "latency", 224, 1, 1),
            ("cpu", "model", "throughput", 224, 16, 1),
            ("cpu", "pipeline", "throughput", 224, 16, 4),
            ("cpu", "train", "throughput", 224, 16, 4),
        ]
    )


def test_another_image_size_adds_the_model_at_224() -> None:
    added = planned(image_size=64, clocks="model") - planned(image_size=64, clocks="train")
    assert ("cpu", "model", "throughput", 224, 16, 4) in added
    assert ("cpu", "model", "latency", 224, 1, 4) in added
    assert ("cpu", "model", "throughput", 224, 16, 1) not in added
    assert ("cpu", "model", "throughput", 64, 16, 1) in added


def test_one_core_is_one_setting() -> None:
    assert set(planned(cores=1, clocks="model").values()) == {1}
    assert all(key[-1] == 1 for key in planned(cores=1))


def test_batch_and_threads_are_the_options() -> None:
    assert ("cpu", "train", "throughput", 224, 32, 2) in planned(timing_batch=32, threads=2)


def test_a_gpu_adds_the_copy_and_the_cpu_keeps_the_model_alone() -> None:
    found = planned(("cpu", "cuda"))
    assert {key[1] for key in found if key[0] == "cuda"} == {"model", "copy", "pipeline", "train"}
    assert {key[1] for key in found if key[0] == "cpu"} == {"model"}


@pytest.mark.parametrize(
    ("asked", "expected"), [("off", {False}), ("on", {True}), ("both", {False, True})]
)
def test_mixed_precision_is_for_cuda_and_for_all(asked: str, expected: set[bool]) -> None:
    cases = plan_cases(RunConfig(timing_amp=asked, channels_last=True), ("cpu", "cuda"), 2)
    assert {case.amp for case in cases if case.device == "cuda"} == expected
    assert {case.amp for case in cases if case.device == "cpu"} == {False}
    assert all(case.channels_last for case in cases)


def test_training_steps_come_last_since_they_change_the_model() -> None:
    clocks = [case.clock for case in plan_cases(RunConfig(), ("cpu", "cuda"), 2)]
    assert "train" not in clocks[: clocks.index("train")]
    assert set(clocks[clocks.index("train") :]) == {"train"}
