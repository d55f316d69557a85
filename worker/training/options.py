"""What a training run may be asked for."""

import math
from dataclasses import dataclass
from typing import Literal

Loss = Literal["squared", "cross_entropy", "fixmatch"]
LOSSES: tuple[Loss, ...] = ("squared", "cross_entropy", "fixmatch")


@dataclass(frozen=True)
class TrainOptions:
    """How a network is fitted to its labels. Raises ValueError where a number makes no sense."""

    loss: Loss = "squared"
    steps: int | None = None  # None: from the epochs, and never so few that a handful of labels is not learned
    epochs: int = 100
    batch_size: int = 64  # labeled items of a step
    learning_rate: float = 3e-3  # the peak of the one-cycle schedule
    weight_decay: float = 1e-4
    seed: int = 0
    loss_prediction: bool = False
    loss_prediction_weight: float = 1.0
    # What follows is read by fixmatch only.
    confidence: float = 0.95  # the least probability of a pseudo-label that counts
    unlabeled_ratio: int = 7  # unlabeled items of a step, in batch sizes
    unlabeled_weight: float = 1.0
    realign: bool = True

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}: it must be one of {', '.join(LOSSES)}")
        for name in ("steps", "epochs", "batch_size", "unlabeled_ratio"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} is {count}: it must be at least 1")
        for name in ("weight_decay", "loss_prediction_weight", "unlabeled_weight"):
            number = getattr(self, name)
            if not 0 <= number < math.inf:
                raise ValueError(f"{name} is {number}: it must be a finite number, zero or more")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}: it must be a finite number above zero")
        if not 0 < self.confidence <= 1:
            raise ValueError(f"confidence is {self.confidence}: it must be above 0 and at most 1")
