"""With --tune auto memory format and compilation are chosen by what was measured."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.timing import tuning
from bench.timing.estimate import StepRates
from bench.timing.tuning import choose_compilation, choose_format, forward_as_chosen


def rates(last: float, plain: float) -> dict[str, StepRates]:
    return {
        "channels_last": StepRates((last, 0.01), batch=8, of="resnet18"),
        "contiguous": StepRates((plain, 0.01), batch=8, of="resnet18"),
    }


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (rates(0.10, 0.12), "channels_last"),
        (rates(0.103, 0.100), "channels_last"),
        (rates(0.14, 0.10), "contiguous"),
        ({}, "channels_last"),
    ],
)
def test_contiguous_needs_a_clear_gain(measured: dict[str, StepRates], expected: str) -> None:
    assert choose_format(measured)[0] == expected


def test_the_reason_names_both_speeds() -> None:
    _, why = choose_format(rates(0.14, 0.10))
    assert why == (
        "--tune auto measured resnet18 at batch 8: channels-last 7.14, contiguous 10 images/s"
    )
    assert choose_format({})[1] == "not measured"


@pytest.mark.parametrize(
    ("device", "asked", "expected"),
    [
        ("cpu", "auto", "channels_last"),
        ("cuda", "auto", "channels_last"),
        ("mps", "auto", "contiguous"),
        ("cpu", "contiguous", "contiguous"),
        ("mps", "channels-last", "channels_last"),
    ],
)
def test_the_kind_of_device_decides_the_format(device: str, asked: str, expected: str) -> None:
    assert RunConfig(memory_format=asked).memory_format_on(device) == expected
    assert RunConfig().tune == "off"


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 2)
    )


def choose(
    model: nn.Module, expected_s: float | None = None, key: str | None = None, steps: int = 10
):
    images, labels = torch.linspace(-1, 1, 768).view(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    return choose_compilation(
        model,
        images,
        labels,
        planned_steps=steps,
        expected_s=expected_s,
        amp=contextlib.nullcontext,
        key=key,
    )


def test_a_short_training_is_not_compiled_and_says_why(model, monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    monkeypatch.setattr(tuning, "_seconds", lambda *_: 0.01)
    for expected_s in (None, 599.0):
        found = choose(model, expected_s)
        assert forward_as_chosen(model, found["chosen"], 4) is model
        assert found["chosen"] == "eager"
        assert found["tried"] == []
        seconds = 599 if expected_s else 0
        assert found["reason"].startswith(
            f"the training takes about {seconds} s: compiling pays from 600 s on"
        )


def test_measuring_leaves_weights_buffers_gradients_and_random_state(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    monkeypatch.setattr(torch, "compile", lambda module, mode: module)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    choose(model)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_compiled_model_that_is_faster_takes_whole_batches_only(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    used: list[int] = []

    def compiled(images: torch.Tensor) -> torch.Tensor:
        used.append(len(images))
        return model(images)

    monkeypatch.setattr(torch, "compile", lambda module, mode: compiled)
    seconds = {id(model): 1.0, id(compiled): 0.5}
    monkeypatch.setattr(tuning, "_seconds", lambda step, forward, device: seconds[id(forward)])
    found = choose(model)
    assert found["chosen"] == "compiled (default)"
    assert found["tried"][0]["step_s"] == 0.5
    used.clear()
    forward = forward_as_chosen(model, found["chosen"], 4)
    forward(torch.randn(4, 3, 8, 8))
    forward(torch.randn(3, 3, 8, 8))
    assert used == [4]


def test_a_gain_below_the_noise_is_no_gain(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    monkeypatch.setattr(torch, "compile", lambda module, mode: lambda images: model(images))
    taken = iter([1.0, 0.97])
    monkeypatch.setattr(tuning, "_seconds", lambda *_: next(taken))
    found = choose(model)
    assert forward_as_chosen(model, found["chosen"], 4) is model
    assert found["chosen"] == "eager"


def test_a_backend_that_fails_is_a_line_in_the_record(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)

    def broken(module: nn.Module, mode: str) -> nn.Module:
        raise RuntimeError("no C++ compiler\nis found")

    monkeypatch.setattr(torch, "compile", broken)
    found = choose(model)
    assert forward_as_chosen(model, found["chosen"], 4) is model
    assert found["tried"] == [
        {"mode": "default", "error": "RuntimeError: no C++ compiler is found"}
    ]


def test_what_was_found_once_is_not_measured_again(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    compiled: list[str] = []

    def compile_(module: nn.Module, mode: str):
        compiled.append(mode)
        return lambda images: module(images)

    monkeypatch.setattr(torch, "compile", compile_)
    taken = iter([1.0, 0.5, 1.0, 2.0])
    monkeypatch.setattr(tuning, "_seconds", lambda *_: next(taken))
    for _ in range(2):
        found = choose(model, key="fast")
        assert found["chosen"] == "compiled (default)"
        assert found["eager_step_s"] == 1.0
    assert found["reason"].endswith("by an earlier run")
    assert compiled == ["default", "default"]
    for _ in range(2):
        found = choose(model, key="slow")
        assert forward_as_chosen(model, found["chosen"], 4) is model
        assert found["chosen"] == "eager"
    assert found["reason"].endswith("by an earlier run")
    assert compiled == ["default"] * 3
    assert next(taken, None) is None


def test_a_known_compilation_must_pay_for_itself_in_this_training(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    known = {
        "chosen": "compiled (default)",
        "eager_step_s": 1.0,
        "tried": [{"mode": "default", "compile_s": 60.0, "step_s": 0.75}],
    }
    tuning.remember(tuning.KIND, {"key": known})
    monkeypatch.setattr(torch, "compile", lambda module, mode: lambda images: module(images))
    found = choose(model, key="key", steps=239)
    assert forward_as_chosen(model, found["chosen"], 4) is model
    assert found["chosen"] == "eager"
    assert "compiling anew would save 60 s and take longer" in found["reason"]
    found = choose(model, key="key", steps=241)
    assert forward_as_chosen(model, found["chosen"], 4) is not model
    assert found["chosen"] == "compiled (default)"


def test_a_known_compilation_that_fails_now_is_measured_anew(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    known = {
        "chosen": "compiled (default)",
        "eager_step_s": 1.0,
        "tried": [{"mode": "default", "compile_s": 0.0, "step_s": 0.5}],
    }
    tuning.remember(tuning.KIND, {"key": known})

    def broken(module: nn.Module, mode: str) -> nn.Module:
        raise RuntimeError("no C++ compiler is found")

    monkeypatch.setattr(torch, "compile", broken)
    found = choose(model, key="key")
    assert forward_as_chosen(model, found["chosen"], 4) is model
    assert found["tried"] == [
        {"mode": "default", "error": "RuntimeError: no C++ compiler is found"}
    ]
    assert tuning.recall(tuning.KIND)["key"] == known


def test_a_failure_is_tried_again_the_next_time(model, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "PAYS_FROM_S", 0.0)
    tries: list[str] = []

    def broken(module: nn.Module, mode: str) -> nn.Module:
        tries.append(mode)
        raise RuntimeError("no C++ compiler is found")

    monkeypatch.setattr(torch, "compile", broken)
    for _ in range(2):
        choose(model, key="key")
    assert tries == ["default", "default"]
