"""What a training may be asked for, by name."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict


class TrainSettings(TypedDict, total=False):
    """Settings of `POST /projects/{name}/train`; None, like leaving one out, means the service's default."""

    epochs: int | None  # 0 leaves the initial weights as they are
    loss: Literal["squared", "cross_entropy", "fixmatch"] | None
    seed: int | None
    learning_rate: float | None  # the peak of the one-cycle schedule
    batch_size: int | None
    weight_decay: float | None
    warm_start: bool | None  # begin with the active checkpoint's weights
    standardise: bool | None  # give the network inputs of mean zero and a scale of one
    loss_prediction: bool | None  # train the module that the strategy ll4al scores with
    fixmatch: Mapping[str, Any] | None  # confidence, unlabeled_ratio, unlabeled_weight, realign
    kernel: Mapping[str, Any] | None  # in place of the project's
