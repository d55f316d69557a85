"""Training a built-in architecture on the labels so far."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.common import Json, KernelOptions, Request, Seed

Positive = Annotated[float, Field(strict=True, gt=0, le=1e3)]


class FixMatch(Request):
    """How unlabeled items take part in the loss `fixmatch`."""

    confidence: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        default=0.95, description="least probability of a pseudo-label that counts"
    )
    unlabeled_ratio: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        default=7, description="unlabeled items per labeled one in a step"
    )
    unlabeled_weight: Annotated[float, Field(strict=True, ge=0, le=1e3)] = Field(
        default=1.0, description="weight of their loss"
    )
    realign: bool = Field(
        default=True, strict=True, description="move pseudo-labels towards the classes' shares among the labels"
    )


class TrainRequest(Request):
    """What to train and how. Everything has a default that suits a few hundred labels."""

    architecture: Annotated[str, Field(max_length=100)] | None = Field(
        default=None,
        description="default: that of the active checkpoint, else embedding:mlp for vectors, cnn for images, mlp",
    )
    options: Json = Field(default_factory=dict, description="of the architecture; inputs and classes are filled in")
    epochs: Annotated[int, Field(strict=True, ge=0, le=10_000)] = Field(
        default=100, description="0 leaves the initial weights as they are"
    )
    loss: Literal["squared", "cross_entropy", "fixmatch"] = Field(
        default="squared", description="squared loss on one-hot targets is what the kernel model assumes"
    )
    seed: Seed = 0
    learning_rate: Positive = Field(default=3e-3, description="the peak of the one-cycle schedule")
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=10)] = 1e-4
    warm_start: bool = Field(default=False, strict=True, description="begin with the active checkpoint's weights")
    standardise: bool = Field(
        default=True,
        strict=True,
        description="give the network inputs of mean zero and one scale, one each for features in units of their own",
    )
    loss_prediction: bool = Field(
        default=False, strict=True, description="train the module that the strategy ll4al scores with"
    )
    fixmatch: FixMatch = FixMatch()
    kernel: KernelOptions | None = Field(default=None, description="overrides the project's")
