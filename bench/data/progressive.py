"""Progressive learning: image size and regularisation that grow from stage to stage.

Tan and Le 2021, EfficientNetV2 (arXiv:2104.00298), section 4, algorithm 1: within a stage all is
constant, from stage to stage it grows linearly. The ratios of the smallest to the largest are those
of EfficientNetV2-S in their table 6 (images 128 to 300, RandAugment 5 to 15, dropout 0.1 to 0.3);
their RandAugment is the recipe's rotation and colour jitter here.
"""

from __future__ import annotations

import attrs
import numpy as np

from bench.config.options import RunConfig
from bench.data.augment import opencv
from bench.data.transforms import ANGLE, FACTORS

STAGES = 4
SMALLEST_SIZE = 128 / 300
SMALLEST_STRENGTH = 1 / 3
# Sizes that every backbone's strides divide.
STEP = 32


@attrs.frozen
class Stage:
    """What the epochs of a stage train with.

    Attributes:
        first: number of its first epoch, from 1.
        image_size: S in pixels.
        strength: of augmentation and dropout, as a share of the recipe's, 0..1.
    """

    first: int
    image_size: int
    strength: float


@attrs.frozen
class ProgressiveSchedule:
    """The stages of a training.

    Attributes:
        stages: in order; the last one is the recipe as it is.
        epochs: of the training.
    """

    stages: tuple[Stage, ...]
    epochs: int

    @classmethod
    def of(cls, config: RunConfig) -> ProgressiveSchedule | None:
        """Return the stages that a config asks for, or none."""
        if not config.progressive:
            return None
        count, largest = min(STAGES, config.epochs), config.image_size
        smallest = min(largest, max(STEP, round(largest * SMALLEST_SIZE / STEP) * STEP))
        stages = []
        for number in range(count):
            share = 1.0 if count == 1 else number / (count - 1)
            size = smallest + (largest - smallest) * share
            stages.append(
                Stage(
                    first=1 + number * config.epochs // count,
                    # The last size is the run's own, which need not be a multiple.
                    image_size=largest if share == 1 else min(largest, round(size / STEP) * STEP),
                    strength=SMALLEST_STRENGTH + (1 - SMALLEST_STRENGTH) * share,
                )
            )
        return cls(tuple(stages), config.epochs)

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, from 1."""
        return next(stage for stage in reversed(self.stages) if stage.first <= epoch)

    @property
    def area(self) -> float:
        """Return the mean pixels of an image over the training, as a share of the last stage's."""
        largest = self.stages[-1].image_size
        sizes = [self.stage(epoch).image_size for epoch in range(1, self.epochs + 1)]
        return float(np.mean([(size / largest) ** 2 for size in sizes]))

    def ratio(self, epoch: int) -> float:
        """Return the pixels of an image in an epoch ÷ those in the one before."""
        if epoch == 1:
            return 1.0
        return (self.stage(epoch).image_size / self.stage(epoch - 1).image_size) ** 2

    def may_stop(self, epoch: int, patience: int) -> bool:
        """Return whether a training may stop early before an epoch: only in the last stage.

        What did not improve on small images may yet do so on larger ones.
        """
        return epoch - self.stages[-1].first >= patience

    def as_record(self) -> list[dict[str, float]]:
        """Return the ``growth`` of a record's training."""
        return [attrs.asdict(stage) for stage in self.stages]


def weaken(draws: np.ndarray, strength: float) -> np.ndarray:
    """Return rotation and jitter at a share of their strength; what is mirrored stays so.

    Args:
        draws: (N, 8) of :func:`bench.data.transforms.draw_epoch`.
        strength: 0..1.
    """
    if strength == 1:
        return draws
    weaker = draws.copy()
    weaker[:, ANGLE] *= strength
    weaker[:, FACTORS] = 1 + (weaker[:, FACTORS] - 1) * strength
    return weaker


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """Shrink (S, S, 3) uint8 to (size, size, 3): each pixel the mean of those it covers."""
    cv2 = opencv()
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
