"""The fresh process: what it times, in its own interpreter and in this one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from bench.config.options import RunConfig
from bench.timing import timer as throughput
from bench.timing.backends import PACKAGES
from bench.timing.cases import Case
from bench.timing.process import ProcessFailed, TimingProcess, measure_together
from bench.timing.timer import BLOCKS
from bench.timing.worker import Timer

MODEL = Case(device="cpu", clock="model", regime="latency", image_size=32, batch_size=1, threads=1)
CLOCKS = {
    clock: attrs.evolve(MODEL, clock=clock, regime="throughput", batch_size=2)
    for clock in ("model", "pipeline", "train")
}
# Few operators: compiling and exporting take long enough.
SMALL = """
from torch import nn
from variants import Variant, register

class Small(nn.Sequential):
    def get_classifier(self):
        return self[-1]

def build(num_classes, dropout, reduction):
    return Small(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes),
    )

register(Variant(name="Small", backbone="none", build=build))
"""


@pytest.fixture
def small_plugin(tmp_path: Path) -> Path:
    path = tmp_path / "small_variants.py"
    path.write_text(SMALL)
    return path


def job_of(plugin: Path, *cases: Case, images: list[str] | None = None, **config) -> dict[str, Any]:
    return {
        "variant": "Tiny_CA",
        "num_classes": 3,
        "config": RunConfig(image_size=32, **config).as_record(),
        "cases": [attrs.asdict(case) for case in cases],
        "plugins": [str(plugin)],
        "images": images or [],
        "exports": str(plugin.parent / "exports"),
    }


def run(timer: Timer) -> list[dict[str, Any]]:
    """What a timer finds of each case of its job, one after the other."""
    found = []
    for number in range(len(timer.job["cases"])):
        for _ in range(timer.answer(f"begin {number}")["blocks"]):
            timer.answer("block")
        found.append(timer.answer("end"))
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "BLOCK_S", 0.0)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_clock_times_what_it_says(tiny_plugin: Path, photos: Path, quick: None) -> None:
    images = [str(path) for path in sorted(photos.glob("*/*.png"))[:3]]
    timer = Timer(job_of(tiny_plugin, *CLOCKS.values(), images=images))
    before = [parameter.detach().clone() for parameter in timer.model.parameters()]
    found = run(timer)
    assert [one["about"]["clock"] for one in found] == ["model", "pipeline", "train"]
    assert all(min(one["sample"]["block_seconds"]) > 0 for one in found)
    inside = {one["about"]["clock"]: one["about"]["inside_clock"] for one in found}
    assert inside["model"] == "model only"
    assert "decode" in inside["pipeline"]
    assert "optimizer step" in inside["train"]
    moved = [not torch.equal(a, b) for a, b in zip(before, timer.model.parameters(), strict=True)]
    assert any(moved)


def test_a_forward_clock_does_not_touch_the_weights(tiny_plugin: Path, quick: None) -> None:
    timer = Timer(job_of(tiny_plugin, MODEL, CLOCKS["model"]))
    before = [parameter.detach().clone() for parameter in timer.model.parameters()]
    run(timer)
    assert not timer.model.training
    assert all(torch.equal(a, b) for a, b in zip(before, timer.model.parameters(), strict=True))


def test_a_frozen_backbone_is_frozen_in_the_training_clock(tiny_plugin: Path, quick: None) -> None:
    timer = Timer(job_of(tiny_plugin, CLOCKS["train"], freeze_backbone=True))
    before = [parameter.detach().clone() for parameter in timer.model.backbone.blocks.parameters()]
    run(timer)
    after = timer.model.backbone.blocks.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_pipeline_decodes_the_jobs_images_in_turn(
    tiny_plugin: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data import images as decoding

    asked: list[str] = []
    load = decoding.load_square
    monkeypatch.setattr(
        decoding, "load_square", lambda path, size: asked.append(path.name) or load(path, size)
    )
    paths = sorted(photos.glob("*/*.png"))[:3]
    timer = Timer(job_of(tiny_plugin, images=[str(path) for path in paths]))
    step = timer._step(CLOCKS["pipeline"], torch.device("cpu"), "off")
    assert step().shape == (2, 3)
    step()
    assert sorted(asked) == sorted([*(path.name for path in paths), paths[0].name])


def test_channels_last_is_the_format_of_model_and_images(tiny_plugin: Path) -> None:
    timer = Timer(job_of(tiny_plugin))
    case = attrs.evolve(CLOCKS["model"], channels_last=True)
    timer._step(case, torch.device("cpu"), "off")
    weight = timer.model.backbone.conv_stem.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_threads_are_the_cases(tiny_plugin: Path, quick: None, monkeypatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run(Timer(job_of(tiny_plugin, MODEL, attrs.evolve(MODEL, threads=2))))
    assert seen == [1, 2]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
              RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
              RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
              RuntimeError("CUDA error: out of memory")]
)  # fmt: skip
def test_what_does_not_fit_says_so_and_the_next_case_goes_on(
    tiny_plugin: Path, quick: None, monkeypatch, error: Exception
) -> None:
    timer = Timer(job_of(tiny_plugin, CLOCKS["model"], MODEL))
    forward = timer._forward

    def full(images: torch.Tensor, amp: str) -> torch.Tensor:
        if len(images) > 1:
            raise error
        return forward(images, amp)

    monkeypatch.setattr(timer, "_forward", full)
    first, second = run(timer)
    assert first["out_of_memory"]
    assert "sample" not in first
    assert second["sample"]["block_seconds"]


def test_another_error_is_not_taken_for_memory(tiny_plugin: Path, monkeypatch) -> None:
    timer = Timer(job_of(tiny_plugin, MODEL))

    def broken(images: torch.Tensor, amp: str) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(timer, "_forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        run(timer)


@pytest.mark.slow
def test_a_process_that_cannot_build_says_why(tiny_plugin: Path) -> None:
    process = TimingProcess({**job_of(tiny_plugin, MODEL), "variant": "No_Such"})
    try:
        process.wait_until_ready()
        found = measure_together({"it": process})["it"]
    finally:
        process.close()
    assert found["cases"] == []
    assert found["error"].startswith("timing process ended with 1: ")
    assert "No_Such" in found["error"]
    assert found["killed"] is False


class Asked:
    """A process that notes what it is asked, and ends at a given line."""

    def __init__(
        self,
        name: str,
        log: list[str],
        *,
        blocks: int = 5,
        ends_at: str = "",
        later_mode: bool = False,
    ) -> None:
        self.name, self.log, self.blocks, self.ends_at = name, log, blocks, ends_at
        self.cases = [{"mode": "eager"}, {"mode": "folded" if later_mode else "eager"}]

    def ask(self, command: str) -> dict[str, Any]:
        if command == self.ends_at:
            raise ProcessFailed("gone", killed=True)
        self.log.append(f"{self.name} {command}")
        if command.startswith("begin"):
            return {"blocks": self.blocks}
        return {"case": self.name} if command == "end" else {}


def test_processes_take_turns_block_by_block() -> None:
    log: list[str] = []
    found = measure_together({name: Asked(name, log) for name in "ab"})
    assert log[:6] == [
        "a begin 0", "b begin 0",
        "a block after others", "b block after others",
        "a block after others", "b block after others",
    ]  # fmt: skip
    assert log[12:16] == ["a end", "b end", "a begin 1", "b begin 1"]
    assert found == {name: {"cases": [{"case": name}] * 2, "error": None} for name in "ab"}


def test_a_process_alone_times_block_after_block() -> None:
    log: list[str] = []
    measure_together({"a": Asked("a", log)})
    assert log[1:7] == [*["a block"] * 5, "a end"]


def test_one_with_fewer_blocks_waits_for_the_others() -> None:
    log: list[str] = []
    measure_together({"a": Asked("a", log, blocks=1), "b": Asked("b", log, blocks=2)})
    turn = "block after others"
    assert log[:7] == [
        "a begin 0", "b begin 0", f"a {turn}", f"b {turn}", f"b {turn}", "a end", "b end"
    ]  # fmt: skip


def test_one_that_ends_leaves_the_others_their_turns() -> None:
    log: list[str] = []
    found = measure_together({"a": Asked("a", log, ends_at="begin 1"), "b": Asked("b", log)})
    assert found["a"] == {"cases": [], "error": "gone", "killed": True}
    assert len(found["b"]["cases"]) == 2


def test_a_process_that_does_not_answer_is_ended(tiny_plugin: Path, monkeypatch) -> None:
    from bench.timing import process as timing_process

    monkeypatch.setattr(timing_process, "ANSWER_S", 0.0)
    process = TimingProcess(job_of(tiny_plugin, MODEL))
    try:
        with pytest.raises(ProcessFailed, match="did not answer within 0 s"):
            process.ask("begin 0")
    finally:
        process.close()


# --- modes -----------------------------------------------------------------------------------

FOLDED = attrs.evolve(MODEL, mode="folded", regime="throughput", batch_size=2)


def test_a_mode_is_timed_and_the_model_stays_for_the_next_case(
    tiny_plugin: Path, quick: None
) -> None:
    last = attrs.evolve(MODEL, mode="channels-last", channels_last=True)
    timer = Timer(job_of(tiny_plugin, MODEL, last, FOLDED, CLOCKS["train"]))
    names = [name for name, _ in timer.model.named_modules()]
    eager, channels_last, folded, train = run(timer)
    assert eager["sample"]["mode_facts"] == {}
    assert channels_last["about"]["memory_format"] == "channels_last"
    assert folded["about"]["mode"] == "folded"
    assert folded["sample"]["mode_facts"]["folded"] > 5
    assert 0 < folded["sample"]["mode_facts"]["max_difference"] < 1e-3
    assert min(folded["sample"]["block_seconds"]) > 0
    assert train["sample"]["block_seconds"]
    assert train["sample"]["mode_facts"] == {}
    assert [name for name, _ in timer.model.named_modules()] == names
    assert timer.model.backbone.conv_stem.weight.is_contiguous()


def test_a_mode_that_fails_says_why_and_the_next_case_goes_on(
    tiny_plugin: Path, quick: None, monkeypatch
) -> None:
    from bench.timing import backends

    def broken(*_: object) -> int:
        raise RuntimeError("shapes do not fit\nhere")

    monkeypatch.setattr(backends, "fold", broken)
    failed, then = run(Timer(job_of(tiny_plugin, FOLDED, MODEL)))
    assert failed["failed"] == "RuntimeError: shapes do not fit"
    assert "sample" not in failed
    assert failed["about"]["mode"] == "folded"
    assert then["sample"]["block_seconds"]


def test_a_mode_that_fails_while_it_is_timed_says_why(
    tiny_plugin: Path, quick: None, monkeypatch
) -> None:
    timer = Timer(job_of(tiny_plugin, FOLDED, MODEL))
    timer.answer("begin 0")

    def broken() -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(timer._timer, "step", broken)
    for _ in range(BLOCKS):
        timer.answer("block")
    assert timer.answer("end")["failed"] == "RuntimeError: gone"


def test_memory_that_a_mode_lacks_is_told_like_eagers(
    tiny_plugin: Path, quick: None, monkeypatch
) -> None:
    from bench.timing import backends

    def full(*_: object) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backends, "fold", full)
    (found,) = run(Timer(job_of(tiny_plugin, FOLDED)))
    assert found["out_of_memory"]
    assert "failed" not in found


def test_a_mode_that_failed_before_is_not_tried_again(
    tiny_plugin: Path, quick: None, monkeypatch
) -> None:
    from bench.timing import backends

    tried: list[object] = []
    monkeypatch.setattr(backends, "fold", lambda *given: tried.append(given) or 1)
    job = {**job_of(tiny_plugin, MODEL, FOLDED), "failed": {"1": "as before"}}
    eager, folded = run(Timer(job))
    assert eager["sample"]["block_seconds"]
    assert folded["failed"] == "as before"
    assert tried == []


def test_a_process_that_ends_in_a_mode_keeps_what_it_found_before() -> None:
    log: list[str] = []
    crashes = Asked("a", log, ends_at="begin 1", later_mode=True)
    found = measure_together({"a": crashes, "b": Asked("b", log, later_mode=True)})
    assert found["a"]["error"] is None
    assert found["a"]["cases"] == [{"case": "a"}, {"case": {"mode": "folded"}, "failed": "gone"}]
    assert found["b"]["cases"] == [{"case": "b"}] * 2
    assert "a block after others" not in log[log.index("b begin 1") :]


@pytest.mark.slow
def test_modes_are_timed_in_a_real_process(
    small_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all modes those that can be had here, one after the other."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    # Without processes that compile beside it, each of which imports PyTorch.
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    exported = [
        mode
        for mode in ("onnxruntime", "openvino")
        if all(importlib.util.find_spec(package) for package in PACKAGES[mode])
    ]
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not exported and not compiler:
        pytest.skip("neither a C++ compiler nor a runtime of exported models")
    compiled = [attrs.evolve(FOLDED, mode="compiled"), CLOCKS["train"]] if compiler else []
    cases = [*compiled, *(attrs.evolve(case, mode=m) for m in exported for case in (MODEL, FOLDED))]
    process = TimingProcess({**job_of(small_plugin, *cases), "variant": "Small"})
    try:
        process.wait_until_ready()
        found = measure_together({"it": process})["it"]
    finally:
        process.close()
    assert found["error"] is None
    assert [one.get("failed") for one in found["cases"]] == [None] * len(cases)
    assert all(one["sample"]["block_seconds"] for one in found["cases"])
    assert {one["about"]["allocator"]["MALLOC_MMAP_MAX_"] for one in found["cases"]} == {"0"}
    facts = [one["sample"]["mode_facts"] for one in found["cases"]]
    if compiled:
        compiling, _, *facts = facts
        assert compiling["compile_s"] > max(found["cases"][0]["sample"]["block_seconds"])
        assert compiling["max_difference"] < 1e-3
        assert compiling["versions"] == {"torch": torch.__version__}
    for mode, first, second in zip(exported, facts[::2], facts[1::2], strict=True):
        assert first["export_s"] == second["export_s"]  # the second read what the first made
        assert max(first["max_difference"], second["max_difference"]) < 1e-3
        assert mode in first["versions"]
