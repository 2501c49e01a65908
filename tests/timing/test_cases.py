from __future__ import annotations

from collections import Counter

import pytest

from bench.config.options import RunConfig
from bench.timing.cases import is_eager_of, plan_cases


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
    cases = plan_cases(RunConfig(timing_amp=asked), ("cpu", "cuda"), 2)
    assert {case.amp for case in cases if case.device == "cuda"} == expected
    assert {case.amp for case in cases if case.device == "cpu"} == {False}
    assert all(case.channels_last for case in cases)


def test_training_steps_come_last_since_they_change_the_model() -> None:
    clocks = [case.clock for case in plan_cases(RunConfig(), ("cpu", "cuda"), 2)]
    assert "train" not in clocks[: clocks.index("train")]
    assert set(clocks[clocks.index("train") :]) == {"train"}


def test_other_modes_are_for_the_model_at_the_runs_size_with_all_threads() -> None:
    config = RunConfig(image_size=64, modes="folded,eager,contiguous,channels-last")
    cases = plan_cases(config, ("cpu",), 4)
    others = [case for case in cases if case.mode != "eager"]
    assert {(c.clock, c.image_size, c.threads) for c in others} == {("model", 64, 4)}
    assert Counter((c.mode, c.regime, c.batch_size) for c in others) == Counter(
        [
            ("contiguous", "latency", 1),
            ("contiguous", "throughput", 16),
            ("folded", "latency", 1),
            ("folded", "throughput", 16),
        ]
    )
    assert planned(image_size=64) == Counter(
        (c.device, c.clock, c.regime, c.image_size, c.batch_size, c.threads)
        for c in cases
        if c.mode == "eager"
    )


def test_eager_is_timed_right_before_its_other_modes_and_training_last() -> None:
    config = RunConfig(image_size=64, modes="folded")
    order = [(c.clock, c.mode, c.image_size, c.threads) for c in plan_cases(config, ("cpu",), 4)]
    assert order[-5:] == [
        ("model", "eager", 64, 4), ("model", "eager", 64, 4),
        ("model", "folded", 64, 4), ("model", "folded", 64, 4),
        ("train", "eager", 64, 4),
    ]  # fmt: skip


def test_eager_is_timed_even_where_only_another_mode_is_asked_for() -> None:
    modes = {case.mode for case in plan_cases(RunConfig(modes="compiled"), ("cpu",), 2)}
    assert modes == {"eager", "compiled"}


@pytest.mark.parametrize(("asked", "everywhere"), [("auto", True), ("contiguous", False)])
def test_the_memory_format_of_a_mode(asked: str, everywhere: bool) -> None:
    modes = "channels-last,contiguous,folded,compiled,onnxruntime,openvino"
    cases = plan_cases(RunConfig(modes=modes, memory_format=asked), ("cpu", "cuda"), 2)
    formats = {case.mode: case.channels_last for case in cases}
    assert formats == {
        "eager": everywhere,
        # Eager has the other one of the two already.
        **({"contiguous": False} if everywhere else {"channels-last": True}),
        "folded": everywhere,
        "compiled": everywhere,
        "onnxruntime": False,
        "openvino": False,
    }


def test_a_gpu_and_the_cpu_beside_it_are_timed_in_the_modes() -> None:
    cases = plan_cases(RunConfig(modes="folded"), ("cpu", "cuda"), 2)
    assert {case.device for case in cases if case.mode == "folded"} == {"cpu", "cuda"}


def test_a_case_finds_its_eager_one() -> None:
    cases = plan_cases(RunConfig(modes="contiguous"), ("cpu",), 2)
    (one,) = [c for c in cases if c.mode != "eager" and c.regime == "latency"]
    (eager,) = [c for c in cases if is_eager_of(c, one)]
    assert (eager.mode, eager.regime, eager.threads) == ("eager", "latency", 2)
    assert not is_eager_of(one, one)
