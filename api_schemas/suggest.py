"""Suggestions, predictions and the strategies behind them."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api_schemas.common import Answer, Json, Name, Request, Seed, Tag

StrategyName = Literal["auto", "mlmoc", "random", "entropy", "margin", "least_confidence"]
Reasons = Annotated[int, Field(strict=True, ge=0, le=50)]


class StrategyOptions(Request):
    """What every strategy takes."""

    why: Reasons = Field(default=5, description="how many items to name as the reason for each suggestion")


class LookAheadOptions(StrategyOptions):
    """Look-ahead strategies also take the reference of the change and how a batch is made."""

    reference: Literal["linearized", "network"] = Field(
        default="linearized",
        description="measure the change from the current kernel model, or from the checkpoint's own outputs",
    )
    batch: Literal["greedy", "top_k"] = Field(
        default="greedy", description="condition each pick on the ones before it, or take the best scores"
    )


OPTIONS: dict[str, type[StrategyOptions]] = {
    "mlmoc": LookAheadOptions,
    "random": StrategyOptions,
    "entropy": StrategyOptions,
    "margin": StrategyOptions,
    "least_confidence": StrategyOptions,
}


def checked_options(strategy: str, options: Json) -> Json:
    """The options of a strategy with its defaults filled in; `auto` takes those of what it may choose.

    Raises pydantic's ValidationError.
    """
    return OPTIONS["mlmoc" if strategy == "auto" else strategy].model_validate(options).model_dump()


class SuggestDefaults(Request):
    """A project's defaults for what a request for suggestions leaves out."""

    strategy: StrategyName = "auto"
    options: Json = Field(default_factory=dict)
    lease_seconds: Annotated[int, Field(strict=True, ge=0, le=604_800)] = Field(
        default=600, description="how long a named annotator holds a suggestion"
    )


class GivenDefaults(SuggestDefaults):
    """Defaults as they come in: the options must fit the strategy. What is stored stays readable without."""

    @model_validator(mode="after")
    def _fitting(self) -> "GivenDefaults":
        checked_options(self.strategy, self.options)
        return self


class SuggestRequest(Request):
    """Ask what to label next."""

    project: Name
    count: Annotated[int, Field(strict=True, ge=1, le=50_000)] = 1
    strategy: StrategyName | None = Field(default=None, description="default: the project's, which is auto")
    options: Json = Field(default_factory=dict, description="see GET /strategies")
    annotator: Tag | None = None
    lease_seconds: Annotated[int, Field(strict=True, ge=0, le=604_800)] | None = Field(
        default=None,
        description="keep the items from others for this long; 0 only peeks. Default: the project's for a "
        "named annotator, 0 without a name",
    )
    seed: Seed | None = None


class Change(Answer):
    """An item whose prediction would move if the suggestion were labeled as predicted."""

    item: str
    change: float = Field(description="Euclidean length of the change of its outputs")


class Suggestion(Answer):
    """One item to label next."""

    item: str
    rank: int
    score: float = Field(description="the acquisition function's value; larger is more useful")
    predicted: str | None = Field(description="null where no checkpoint is active")
    confidence: float | None = Field(
        description="of the predicted class, in the probability vector nearest to the model's outputs"
    )
    why: list[Change]


class SuggestAnswer(Answer):
    """Suggestions, with everything needed to reproduce them."""

    suggestions: list[Suggestion]
    strategy: str
    options: Json
    label_seq: int = Field(description="every label up to this one was taken into account")
    checkpoint: str | None
    kernel: str | None
    seed: int
    candidates: int = Field(description="how many items were compared")
    timings: dict[str, float] = Field(description="milliseconds by stage")
    reason: str | None = None


class Prediction(Answer):
    """The outputs for one item."""

    item: str
    outputs: list[float]
    predicted: str


class PredictionsAnswer(Answer):
    """Outputs of the linearized model after every label, or of the checkpoint's network."""

    label_seq: int
    source: Literal["linearized", "network"]
    checkpoint: str
    kernel: str
    predictions: list[Prediction]


class Strategy(Answer):
    """A strategy as `POST /suggest` takes it."""

    name: str
    title: str
    summary: str
    source: str
    needs: list[Literal["checkpoint", "labels"]]
    options: dict[str, Any] = Field(description="JSON schema of `options`")


class StrategyList(Answer):
    """Every strategy."""

    strategies: list[Strategy]
