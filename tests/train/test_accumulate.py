"""Batches that do not fit are trained in parts, with the gradients of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.train.accumulate import Accumulation, Buffers, out_of_memory, shares
from bench.train.loop import train_step
from bench.train.optim import Optimization


class Plain(nn.Module):
    """No BatchNorm, no dropout: parts change nothing but the order of sums."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.fc = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.inner(x)))

    def get_classifier(self) -> nn.Module:
        return self.fc


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_parts_give_the_step_of_the_whole(parts: int, weight: torch.Tensor | None) -> None:
    images = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1, 1, 0, 2, 2, 1])
    found = []
    for number in (1, parts):
        model = Plain().double()
        optim = Optimization.build(
            model,
            RunConfig(base_lr=1e-2, head_lr=1e-2),
            torch.device("cpu"),
            class_weight=None if weight is None else weight.double(),
        )
        loss, logits = train_step(optim, images.double(), labels, parts=number)
        found.append((loss, logits, [p.detach() for p in model.parameters()]))
    (loss, logits, weights), (loss_parts, logits_parts, weights_parts) = found
    assert loss_parts.item() == pytest.approx(loss.item(), rel=1e-12)
    assert torch.allclose(logits_parts, logits, rtol=1e-12)
    for one, other in zip(weights, weights_parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-9)


def test_shares_sum_to_one() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2])
    assert shares(labels, None, 2) == [3 / 5, 2 / 5]
    weighted = shares(labels, torch.tensor([1.0, 2.0, 4.0]), 2)
    assert [float(share) for share in weighted] == pytest.approx([4 / 12, 8 / 12])


def test_memory_that_does_not_suffice_doubles_the_parts_for_good() -> None:
    accumulation, cleared, asked = Accumulation(), [], []

    def step(parts: int) -> str:
        asked.append(parts)
        if parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    for _ in range(2):
        found = accumulation.run(step, 16, of="Tiny", clear=lambda: cleared.append(1))
        assert found == "done"
    assert asked == [1, 2, 4, 4]
    assert len(cleared) == 2
    assert accumulation.notes[-1] == (
        "Tiny did not fit in memory: each batch of 16 is trained in 4 parts (gradient "
        "accumulation), here and in all later runs"
    )


def test_it_gives_up_where_parts_would_be_single_images() -> None:
    asked: list[int] = []

    def step(parts: int) -> None:
        asked.append(parts)
        raise torch.OutOfMemoryError("CUDA out of memory")

    accumulation = Accumulation(notes=["of another one"])
    with pytest.raises(torch.OutOfMemoryError):
        accumulation.run(step, 8, of="Tiny", clear=lambda: None)
    assert asked == [1, 2, 4]
    # What fits in no parts must not divide the batches of those that come after it.
    assert accumulation.parts == 1
    assert accumulation.notes == ["of another one"]


def test_processes_that_train_at_once_tell_each_other(tmp_path: Path) -> None:
    def step(parts: int) -> int:
        if parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return parts

    one, other = (Accumulation(shared=tmp_path / "parts") for _ in range(2))
    other.look()
    assert other.parts == 1
    one.run(step, 16, of="Tiny", clear=lambda: None)
    other.look()
    assert other.parts == 4
    assert other.notes == [
        "another run did not fit in memory: each batch is trained in 4 parts (gradient "
        "accumulation)"
    ]
    other.look()
    assert len(other.notes) == 1


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(ZeroDivisionError):
        Accumulation().run(lambda parts: 1 / 0, 8, of="Tiny", clear=lambda: None)
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"))
    assert not out_of_memory(RuntimeError("shape mismatch"))
    assert not out_of_memory(ValueError("not enough memory"))


def test_buffers_are_put_back() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4)
    )
    model[3].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = Buffers(model)
    images = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    model(images)
    buffers.restore()
    for name, value in model.state_dict().items():
        # What is frozen does not move in a training, and is not copied at each step.
        if not name.startswith("3."):
            assert torch.equal(value, before[name]), name
    assert int(model[3].num_batches_tracked) == 1
    model(images)
    buffers.keep()
    kept = model[2].running_mean.clone()
    assert not torch.equal(kept, before["2.running_mean"])
    model(images)
    buffers.restore()
    assert torch.equal(model[2].running_mean, kept)
    assert int(model[1].num_batches_tracked) == 1
    Buffers(nn.Linear(2, 2)).restore()
