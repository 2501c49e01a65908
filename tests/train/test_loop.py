"""The loop on a model small enough to follow by hand."""

from __future__ import annotations

import io
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config.options import RunConfig
from bench.system.console import ConsoleHandler, log_to
from bench.system.progress import Progress, clock
from bench.train import loop
from bench.train.accumulate import Accumulation
from bench.train.checkpoint import CheckpointFiles
from bench.train.evaluate import Evaluation
from bench.train.loop import DivergedError, Feed, TrainContext, class_weights, train_step
from bench.train.optim import Optimization


class Rows(torch.utils.data.Dataset):
    """24 points of two dimensions in two classes; the second class is rarer."""

    num_classes = 3

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = [0] * 16 + [1] * 8
        centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])[self.labels]
        self.points = centres + 0.3 * torch.randn(24, 2, generator=generator)

    def __len__(self) -> int:
        return 24

    def __getitem__(self, place: int):
        return self.points[place], self.labels[place]


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(2, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(torch.relu(self.norm(self.inner(x)))))

    def get_classifier(self) -> nn.Module:
        return self.fc


def loader(shuffle: bool = True, batch_size: int = 8) -> torch.utils.data.DataLoader:
    generator = torch.Generator().manual_seed(3)
    return torch.utils.data.DataLoader(Rows(), batch_size, shuffle=shuffle, generator=generator)


def train(tmp_path: Path, model=None, forward=None, accumulation=None, **options):
    size = options.get("batch_size", 8)
    config = RunConfig(**{"epochs": 4, "base_lr": 1e-2, "head_lr": 5e-2, "amp": "off", **options})
    model = model or Linear()
    torch.manual_seed(config.seed)
    loaders = {"train": loader(batch_size=size), "valid": loader(False, size)}
    result = loop.train(
        model,
        Feed(loaders, tuple, forward),
        config,
        TrainContext(
            device=torch.device("cpu"),
            progress=Progress("Linear", config.epochs),
            accumulation=accumulation or Accumulation(),
        ),
        CheckpointFiles(best=tmp_path / "best_model.pt", about={"variant": "Linear"}),
    )
    return model, result


def test_it_learns_and_keeps_the_best_epochs_weights(tmp_path: Path) -> None:
    model, result = train(tmp_path, epochs=8)
    assert result.best.accuracy > 0.9
    assert [row["epoch"] for row in result.epochs] == list(range(1, 9))
    scores = [row["valid_macro_f1"] for row in result.epochs]
    assert result.best_epoch == scores.index(max(scores)) + 1
    assert result.best.macro_f1 == max(scores)
    saved = torch.load(tmp_path / "best_model.pt", weights_only=True)
    assert saved["epoch"] == result.best_epoch
    assert saved["variant"] == "Linear"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved["model"][name])
    assert not list(tmp_path.glob("*.part"))


def test_the_same_seed_gives_the_same_history_to_the_last_digit(tmp_path: Path) -> None:
    def curves(seed: int) -> list[tuple[float, ...]]:
        _, result = train(tmp_path, seed=seed)
        return [
            tuple(value for name, value in row.items() if "second" not in name and "_s" not in name)
            for row in result.epochs
        ]

    assert curves(0) == curves(0)
    assert curves(0) != curves(1)


def test_rates_follow_the_cosine_to_its_minimum(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=4, base_lr=1e-3, head_lr=1e-2, patience=9)
    for row in result.epochs:
        share = (1 + math.cos(math.pi * (row["epoch"] - 1) / 4)) / 2
        assert row["base_lr"] == pytest.approx(1e-7 + (1e-3 - 1e-7) * share)
        assert row["head_lr"] == pytest.approx(1e-7 + (1e-2 - 1e-7) * share)


def test_the_schedules_period_can_be_longer_than_the_training(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=2, scheduler_tmax=8, head_lr=1e-2)
    share = (1 + math.cos(math.pi / 8)) / 2
    assert result.epochs[1]["head_lr"] == pytest.approx(1e-7 + (1e-2 - 1e-7) * share)


def planted(scores: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter(scores)
    monkeypatch.setattr(
        loop,
        "evaluate",
        lambda *a, **k: Evaluation(0.5, 0.9, next(values), [0], [0], [0.9]),
    )


def test_early_stopping_counts_epochs_without_a_better_macro_f1(tmp_path, monkeypatch) -> None:
    planted([0.1, 0.5, 0.5, 0.4, 0.3, 0.9], monkeypatch)
    _, result = train(tmp_path, epochs=6, patience=3)
    assert len(result.epochs) == 5
    assert result.best_epoch == 2
    assert result.stopped_early


def test_a_progressive_training_grows_its_dropout_and_waits_for_its_last_stage(
    tmp_path, monkeypatch
) -> None:
    """No early stop while the images still grow, and then only after the patience."""
    planted([0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], monkeypatch)
    rates = []
    step = loop.train_step

    def spy(optim, *arguments, **keywords):
        rates.append(round(optim.model.drop.p, 4))
        return step(optim, *arguments, **keywords)

    monkeypatch.setattr(loop, "train_step", spy)
    _, result = train(tmp_path, epochs=8, patience=1, progressive=True)
    assert len(result.epochs) == 7
    assert result.stopped_early
    thirds = [round(0.2 * share, 4) for share in (1 / 3, 5 / 9, 7 / 9, 1)]
    assert rates[::3] == [*(rate for rate in thirds[:3] for _ in range(2)), thirds[3]]


def test_patience_starts_anew_at_each_better_epoch(tmp_path, monkeypatch) -> None:
    planted([0.1, 0.0, 0.2, 0.1, 0.3], monkeypatch)
    _, result = train(tmp_path, epochs=5, patience=2)
    assert (len(result.epochs), result.best_epoch, result.stopped_early) == (5, 5, False)


def test_gradients_are_clipped_at_one(tmp_path: Path, monkeypatch) -> None:
    seen = []
    original = nn.utils.clip_grad_norm_

    def spy(parameters, max_norm):
        parameters = list(parameters)
        norm = original(parameters, max_norm)
        clipped = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        seen.append((norm.item(), clipped.item(), max_norm))
        return norm

    monkeypatch.setattr(loop.nn.utils, "clip_grad_norm_", spy)
    model = Linear()
    with torch.no_grad():
        model.fc.weight.mul_(100)
    train(tmp_path, model, epochs=1)
    assert {limit for *_, limit in seen} == {1.0}
    assert any(norm > 1 for norm, *_ in seen)
    assert all(clipped <= 1.0001 for _, clipped, _ in seen)


def test_clipping_comes_after_unscaling(tmp_path: Path, monkeypatch) -> None:
    order = []

    class Scaler:
        def __init__(self, device: str, enabled: bool) -> None:
            assert (device, enabled) == ("cpu", False)

        def scale(self, loss):
            order.append("scale")
            return loss

        def unscale_(self, optimizer) -> None:
            order.append("unscale")

        def step(self, optimizer) -> None:
            order.append("step")
            optimizer.step()

        def update(self) -> None:
            order.append("update")

    original = nn.utils.clip_grad_norm_
    monkeypatch.setattr(loop.torch.amp, "GradScaler", Scaler)
    monkeypatch.setattr(
        loop.nn.utils, "clip_grad_norm_", lambda *a: (order.append("clip"), original(*a))[1]
    )
    train(tmp_path, epochs=1)
    assert order[:5] == ["scale", "unscale", "clip", "step", "update"]


@pytest.mark.parametrize("batch_size", [8, 16, 5])
def test_training_metrics_are_means_over_images(tmp_path: Path, batch_size: int) -> None:
    """With a rate near zero and no noise the training loss is the loss of the fixed model.

    The last batch of 16 and of 5 is smaller: a mean over batches, or a sum with the same weight for
    each, is another number.
    """
    model = nn.Sequential(nn.Linear(2, 3))
    model.get_classifier = lambda: model[0]
    options = {"epochs": 1, "base_lr": 1e-12, "head_lr": 1e-12, "batch_size": batch_size}
    _, result = train(tmp_path, model, **options)
    data = Rows()
    logits = model(data.points)
    truth = torch.tensor(data.labels)
    row = result.epochs[0]
    assert row["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, truth).item())
    assert row["train_acc"] == pytest.approx((logits.argmax(1) == truth).float().mean().item())
    assert row["valid_loss"] == pytest.approx(row["train_loss"])
    assert row["images_per_s"] == pytest.approx(24 / row["train_seconds"])


def test_figures_of_training_are_not_those_of_validation(tmp_path: Path, monkeypatch) -> None:
    planted([0.7], monkeypatch)
    _, result = train(tmp_path, epochs=1)
    row = result.epochs[0]
    assert (row["valid_loss"], row["valid_acc"], row["valid_macro_f1"]) == (0.5, 0.9, 0.7)
    assert row["train_loss"] != row["valid_loss"]
    assert row["train_acc"] in {hits / 24 for hits in range(25)} - {0.9}


def test_a_diverged_training_says_where(tmp_path: Path) -> None:
    model = Linear()
    with torch.no_grad():
        model.fc.bias[0] = float("nan")
    with pytest.raises(DivergedError, match=r"is nan since step 1 of epoch 1 at .* 0\.05"):
        train(tmp_path, model)


def test_bf16_autocast_runs_on_a_cpu(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=1, amp="bf16")
    assert result.amp == "bf16"
    assert math.isfinite(result.epochs[0]["train_loss"])


def test_balanced_class_weights() -> None:
    data = loader()
    cpu = torch.device("cpu")
    assert class_weights(data, "none", cpu) is None
    weights = class_weights(data, "balanced", cpu)
    assert weights.tolist() == pytest.approx([24 / (2 * 16), 24 / (2 * 8), 0.0])


def test_balanced_class_weights_change_the_training(tmp_path: Path) -> None:
    _, plain = train(tmp_path, epochs=1)
    _, balanced = train(tmp_path, epochs=1, class_weights="balanced")
    assert plain.epochs[0]["train_loss"] != balanced.epochs[0]["train_loss"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fp16_with_a_scaler_trains_on_cuda(tmp_path: Path) -> None:
    model = Linear().cuda()
    config = RunConfig(epochs=4, head_lr=5e-2, base_lr=1e-2, amp="fp16")
    result = loop.train(
        model,
        Feed(
            {"train": loader(), "valid": loader(shuffle=False)},
            lambda batch: tuple(one.cuda(non_blocking=True) for one in batch),
        ),
        config,
        TrainContext(device=torch.device("cuda"), progress=Progress("Linear", 4)),
        CheckpointFiles(best=tmp_path / "best_model.pt", about={}),
    )
    assert result.amp == "fp16"
    assert result.best.accuracy > 0.8


# --- what it prints --------------------------------------------------------------------------


def test_a_pipe_gets_one_plain_line_for_each_epoch(tmp_path: Path) -> None:
    stream = io.StringIO()
    with log_to(ConsoleHandler(stream)):
        train(tmp_path, epochs=2)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Linear  epoch 1/2  loss ")
    assert "images/s" in lines[0]
    assert "left" in lines[0]
    assert "sweep" not in lines[0]
    assert "(best so far)" in lines[0]
    assert "\r" not in stream.getvalue()


def test_the_line_of_an_epoch_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bench.system.progress.time.perf_counter", lambda: now[0])
    stream = io.StringIO()
    progress = Progress("Tiny", 5, expected_s=50.0, later_s=600.0)
    row = dict.fromkeys(
        ("train_loss", "valid_loss", "train_acc", "valid_acc", "valid_macro_f1", "images_per_s"),
        0.5,
    )
    # It was broken off after epoch 2, and takes twice as long as was expected.
    for epoch, best in ((3, 3), (4, 3), (5, 5)):
        now[0] += 20
        with log_to(ConsoleHandler(stream)):
            progress.epoch_done({"epoch": epoch, **row}, best)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("0:40 left, sweep 20:40")
    assert lines[1].endswith("0:20 left, sweep 20:20")
    assert lines[2].endswith("0:00 left, sweep 20:00")
    assert ["(best so far)" in line for line in lines] == [True, False, True]
    assert "(best 3)" in lines[1]
    # After the last run of a sweep nothing is left of it.
    last = io.StringIO()
    with log_to(ConsoleHandler(last)):
        Progress("Tiny", 5, expected_s=50.0).epoch_done({"epoch": 3, **row}, 3)
    assert "left" in last.getvalue()
    assert "sweep" not in last.getvalue()


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with log_to(ConsoleHandler(stream)):
        train(tmp_path, epochs=1)
    assert "Linear 1/1:" in stream.getvalue()
    assert "image/s" in stream.getvalue() or "24/24" in stream.getvalue()


def test_the_bar_tells_the_best_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Batches(list):
        dataset = range(20)

    now, shown = [100.0], []
    monkeypatch.setattr("bench.system.progress.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(
        "bench.system.progress.tqdm.set_postfix_str",
        lambda bar, text, refresh: shown.append(text),
    )
    progress = Progress("Tiny", 5, expected_s=50.0, later_s=600.0)
    row = dict.fromkeys(
        ("train_loss", "valid_loss", "train_acc", "valid_acc", "valid_macro_f1", "images_per_s"),
        0.5,
    )
    # It was broken off in the middle of epoch 3, and takes twice as long as was expected.
    half = (None, range(10))
    with log_to(ConsoleHandler(Terminal())):
        for _ in progress.batches(Batches([half]), 3, seen=10):
            now[0] += 10
        progress.epoch_done({"epoch": 3, **row}, 3)
        for _ in progress.batches(Batches([half, half]), 4):
            now[0] += 10
    assert shown == [
        "0:40 left, sweep 20:40",
        "best F1 0.500, 0:30 left, sweep 20:30",
        "best F1 0.500, 0:20 left, sweep 20:20",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (75.4, "1:15"), (3700, "1:01:40")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# --- the step ----------------------------------------------------------------------------------


def test_a_step_that_is_tried_again_counts_its_batch_once(tmp_path: Path) -> None:
    models = []
    for fails, parts in ((True, 1), (False, 2)):
        model, calls = Linear(), []
        model.drop = nn.Identity()

        def forward(images: torch.Tensor, model=model, calls=calls, fails=fails) -> torch.Tensor:
            logits = model(images)
            calls.append(len(images))
            if fails and len(calls) == 1:
                # After BatchNorm has seen it.
                raise torch.OutOfMemoryError
            return logits

        folder = tmp_path / str(parts)
        folder.mkdir()
        train(folder, model, epochs=1, forward=forward, accumulation=Accumulation(parts))
        models.append(model)
        assert calls[fails:] == [4] * 6
    assert int(models[0].norm.num_batches_tracked) == 6
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name]), name


def test_what_a_later_step_puts_back_is_what_the_steps_before_it_left(tmp_path: Path) -> None:
    model, calls = Linear(), []

    def forward(images: torch.Tensor) -> torch.Tensor:
        logits = model(images)
        calls.append(len(images))
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return logits

    train(tmp_path, model, epochs=1, forward=forward)
    assert calls == [8, 8, 4, 4, 4, 4]
    assert int(model.norm.num_batches_tracked) == 5


class NoReading(TorchDispatchMode):
    """Fails where a tensor's value is read on the host, which would wait for a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
        )
        return function(*args, **(kwargs or {}))


def test_a_step_reads_nothing_from_the_device() -> None:
    optim = Optimization.build(Linear(), RunConfig(), torch.device("cpu"))
    with NoReading():
        train_step(optim, torch.randn(4, 2), torch.tensor([0, 1, 2, 0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_a_step_on_cuda_does_not_synchronise(amp: str) -> None:
    optim = Optimization.build(Linear().cuda(), RunConfig(amp=amp), torch.device("cuda"))
    images, labels = torch.randn(4, 2, device="cuda"), torch.zeros(4, dtype=torch.int64).cuda()
    step = partial(train_step, optim, images, labels)
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_forward_pass_of_a_step_can_be_another(tmp_path: Path) -> None:
    model = Linear()
    seen: list[bool] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(model.training)
        return model(x)

    _, ours = train(tmp_path, model, epochs=1, forward=forward)
    _, plain = train(tmp_path, epochs=1)
    assert seen == [True] * 3
    assert ours.epochs[0]["train_loss"] == plain.epochs[0]["train_loss"]
    assert ours.first_batch_seconds > 0
