"""What the processes of ``test_team.py`` do; the test does the same in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from timm.layers import drop_path
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.data.loaders import bounds
from bench.models import build
from bench.train.distributed import ProcessGroup, join
from bench.train.evaluate import evaluate
from bench.train.loop import train_step
from bench.train.optim import Optimization

CLASSES = 5
# The recipe's rates for the variant; a small model of which little is left to chance learns faster.
RECIPE = RunConfig(amp="off")
FAST = RunConfig(base_lr=1e-3, head_lr=1e-2, amp="off")
# The last has fewer rows than there are processes.
SIZES = [*[16] * 19, 7, 1]


class Convolutions(nn.Module):
    """Batch norm, dropout and stochastic depth, as timm's models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.norm(self.first(images)))
        maps = maps + drop_path(self.second(maps), 0.4, self.training)
        return self.fc(self.drop(maps.mean((2, 3))))

    def get_classifier(self) -> nn.Module:
        return self.fc


class Skipping(Convolutions):
    """Every other step leaves out a convolution, and no step uses the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Conv2d(3, 8, 3, padding=1)
        self.never = nn.Linear(8, 8)
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        logits = super().forward(images)
        return logits + self.fc(self.third(images).mean((2, 3))) if self.calls % 2 else logits


SMALL = {"convolutions": Convolutions, "skipping": Skipping}


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in SMALL:
        return SMALL[name]()
    return build.build(variants.get(name), CLASSES, RECIPE)[0]


def batches(pixels: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(7)
    return [
        (
            torch.randn(count, 3, pixels, pixels, generator=draw),
            torch.randint(0, CLASSES, (count,), generator=draw),
        )
        for count in SIZES
        # Its last maps have one pixel, of which two are needed.
        if pixels == 8 or count > 1
    ]


def steps(team: ProcessGroup, name: str, *, weighted: bool = False) -> dict[str, Any]:
    """Losses of the whole batches of some steps, what they leave, and an evaluation."""
    model = model_of(name).train()
    weight = torch.linspace(0.2, 2.0, CLASSES) if weighted else None
    optim = Optimization.build(
        model,
        FAST if name in SMALL else RECIPE,
        torch.device("cpu"),
        forward=team.wrap(model, skips=name == "skipping"),
        class_weight=weight,
        processes=team.size,
    )
    losses = []
    torch.manual_seed(1)
    pixels = 8 if name in SMALL else 64
    for images, labels in batches(pixels):
        own = slice(*bounds(len(labels), team.rank, team.size))
        team.expect(len(labels))
        share = team.share(labels[own], weight, len(labels))
        loss, _ = train_step(optim, images[own], labels[own], share=share)
        losses.append(sum(team.everywhere(loss.item())))
    found = evaluate(
        model,
        [
            (images[own], labels[own])
            for images, labels in batches(pixels)
            for own in [slice(*bounds(len(labels), team.rank, team.size))]
        ],
        torch.device("cpu"),
        prepare=lambda batch: batch,
        team=team,
    )
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return {"losses": losses, "state": state, "evaluation": found.as_record([])}


CASES: dict[str, dict[str, Any]] = {
    "convolutions": {"name": "convolutions"},
    "skipping": {"name": "skipping"},
    "weighted": {"name": "convolutions", "weighted": True},
    "variant": {"name": "MobileNetV3_Small"},
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    team = join("cpu")
    found = {case: steps(team, **told) for case, told in CASES.items()}
    # The same in each process, asked by the leader for all.
    signals = [None, 15 if team.rank == 1 else None, None, None]
    found["agreed"] = [team.agreed(number) for number in signals]
    found["record"] = team.as_record()
    torch.save(found, folder / f"rank-{team.rank}.pt")
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
