"""The options that each strategy takes."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from api_schemas.common import Json, Request

StrategyName = Literal[
    "auto",
    "mlmoc",
    "emoc",
    "eer",
    "npc",
    "dynamical",
    "ntkcpl",
    "random",
    "entropy",
    "margin",
    "least_confidence",
    "coreset",
    "badge",
    "albl",
    "typiclust",
    "bald",
    "ll4al",
    "egl",
    "one_step",
    "infinite_ntk",
    "gp",
]
Reference = Literal["linearized", "network"]
Batch = Literal["greedy", "top_k"]
Change = Literal["norm", "flips"]
Sharpness = Literal["auto", "softmax", "calibrated"]
Probabilities = Literal["auto", "softmax", "calibrated", "simplex"]
Features = Literal["auto", "inputs", "penultimate"]

_REFERENCE: Any = Field(
    default="linearized",
    description="measure the change from the current kernel model, or from the checkpoint's own outputs",
)
_BATCH: Any = Field(default="greedy", description="condition each pick on the ones before it, or take the best scores")
_CHANGE: Any = Field(default="norm", description="length of the change of outputs, or number of predictions that flip")
_PROBABILITIES: Any = Field(
    default="auto",
    description="how outputs become label probabilities: softmax, softmax at the temperature that suits leave-one-out "
    "outputs best, or the nearest point of the simplex; auto calibrates networks trained here",
)
_SHARPNESS: Any = Field(
    default="auto",
    description="softmax as it is, or at the temperature that suits leave-one-out outputs best; auto calibrates "
    "networks trained here",
)


def _whole(low: int, high: int, default: int, description: str) -> Any:
    return Field(default=default, ge=low, le=high, strict=True, description=description)


class StrategyOptions(Request):
    """What every strategy takes."""

    why: Annotated[int, Field(strict=True, ge=0, le=50)] = Field(
        default=5, description="how many items to name as the reason for each suggestion"
    )


class UncertaintyOptions(StrategyOptions):
    """What reads outputs as probabilities."""

    probabilities: Sharpness = _SHARPNESS


_NOISE: Any = Field(
    default=0.0,
    description="how much the label is doubted in advance, as a variance in units of the kernel's mean diagonal: "
    "beyond 0, items that resemble few others count for less; 0 as published",
)
Noise = Annotated[float, Field(strict=True, ge=0, le=1e6)]


class MlmocOptions(StrategyOptions):
    """Most likely model output change."""

    reference: Reference = _REFERENCE
    batch: Batch = _BATCH
    noise: Noise = _NOISE
    change: Change = _CHANGE


class EmocOptions(MlmocOptions):
    """Expected model output change."""

    probabilities: Probabilities = _PROBABILITIES


class EerOptions(StrategyOptions):
    """Expected error reduction."""

    reference: Reference = Field(
        default="linearized", description="whose probabilities weigh the labels: the kernel model's or the checkpoint's"
    )
    batch: Batch = _BATCH
    noise: Noise = _NOISE
    probabilities: Probabilities = _PROBABILITIES


class OneStepOptions(StrategyOptions):
    """One-step look-ahead."""

    reference: Reference = Field(default="linearized", description="whose outputs give residual and predicted label")
    batch: Literal["top_k"] = Field(default="top_k", description="a gradient step conditions on nothing")


class InfiniteOptions(StrategyOptions):
    """Infinite-width look-ahead."""

    batch: Batch = _BATCH
    change: Change = _CHANGE
    depth: Annotated[int, Field(strict=True, ge=1, le=32)] | None = Field(
        default=None, description="hidden layers of the infinitely wide network; null: 2"
    )


class GaussianProcessOptions(StrategyOptions):
    """Gaussian-process look-ahead."""

    batch: Batch = _BATCH
    change: Change = _CHANGE
    features: Features = Field(default="auto", description="what distances are taken of")
    length_scale: Annotated[float, Field(strict=True, gt=0, le=1e9)] | None = Field(
        default=None, description="of the squared-exponential kernel; null: the median distance"
    )


class NpcOptions(StrategyOptions):
    """Neural pre-conditioning."""

    kernel: Literal["pntk", "last_layer"] = Field(
        default="pntk", description="the window's own kernel, or that of the network's last layer"
    )
    num_subsets: int = _whole(1, 100_000, 1000, "how many random batches are compared")
    search: Literal["random", "greedy", "swap"] = Field(
        default="random", description="random batches, one pick at a time, or the latter improved by exchanges"
    )


class DynamicalOptions(UncertaintyOptions):
    """Training dynamics."""

    reference: Reference = Field(
        default="network", description="whose outputs give the loss: the checkpoint's, or the current kernel model's"
    )
    batch: Batch = _BATCH
    gamma: Annotated[float, Field(strict=True, ge=0, le=1e6)] = Field(
        default=1.0, description="weight of what an item shares with the labeled ones; 1 as published"
    )


class NtkcplOptions(StrategyOptions):
    """Coverage of clusters."""

    features: Literal["self", "al"] = Field(
        default="self", description="cluster the frozen features, or the input of the network's last layer"
    )
    depth: int = _whole(1, 8, 1, "hidden layers of the head whose kernel is used")
    max_clusters: int = _whole(2, 1000, 100, "at most so many clusters")


class CoresetOptions(StrategyOptions):
    """Coreset."""

    features: Features = Field(default="penultimate", description="what distances are taken of")


class BadgeOptions(UncertaintyOptions):
    """BADGE."""

    partitions: int = _whole(1, 1000, 1, "deal the candidates out and pick a share from each part: for large batches")


class AlblOptions(UncertaintyOptions):
    """Active learning by learning."""

    exploration: Annotated[float, Field(strict=True, gt=0, le=0.5)] | None = Field(
        default=None, description="least probability of each arm; null: one over ten times the arms"
    )
    delta: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        default=0.1, description="failure probability of the bound"
    )
    horizon: int = _whole(1, 1_000_000, 100, "labels over which the bandit's bound is to hold")


class TypiclustOptions(StrategyOptions):
    """TypiClust."""

    features: Features = Field(default="auto", description="what is clustered: auto is the inputs of vector pools")


class BaldOptions(UncertaintyOptions):
    """BALD."""

    samples: int = _whole(2, 1000, 20, "networks drawn by dropout")
    dropout: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        default=0.5, description="rate on the last layer's input, where the network has no dropout of its own"
    )


class EglOptions(UncertaintyOptions):
    """Expected gradient length."""

    parameters: Literal["last_layer", "all"] = Field(
        default="last_layer", description="gradient of the last layer in closed form, or of all parameters"
    )


OPTIONS: dict[str, type[StrategyOptions]] = {
    "mlmoc": MlmocOptions,
    "emoc": EmocOptions,
    "eer": EerOptions,
    "npc": NpcOptions,
    "dynamical": DynamicalOptions,
    "ntkcpl": NtkcplOptions,
    "random": StrategyOptions,
    "entropy": UncertaintyOptions,
    "margin": StrategyOptions,
    "least_confidence": UncertaintyOptions,
    "coreset": CoresetOptions,
    "badge": BadgeOptions,
    "albl": AlblOptions,
    "typiclust": TypiclustOptions,
    "bald": BaldOptions,
    "ll4al": StrategyOptions,
    "egl": EglOptions,
    "one_step": OneStepOptions,
    "infinite_ntk": InfiniteOptions,
    "gp": GaussianProcessOptions,
}


def checked_options(strategy: str, options: Json) -> Json:
    """The options of a strategy with its defaults filled in. Raises pydantic's ValidationError.

    For `auto`, which may choose any strategy, options must fit at least one; the chosen one is checked again.
    """
    if strategy != "auto":
        return OPTIONS[strategy].model_validate(options).model_dump()
    refusal: ValidationError | None = None
    # The first refusal tells most: that of the first strategy that takes such options at all, mlmoc where none does.
    for kind in sorted(OPTIONS.values(), key=lambda kind: bool(options.keys() - kind.model_fields.keys())):
        try:
            return kind.model_validate(options).model_dump()
        except ValidationError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal
