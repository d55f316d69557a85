"""Suggestions, predictions and the strategies behind them."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter, model_validator

from api_schemas.common import Answer, ItemId, Json, Name, Request, Seed, Tag
from api_schemas.filters import Filter
from api_schemas.strategies import StrategyName, checked_options

_COUNT_MAX = 50_000
_Every = Annotated[int, Field(strict=True, ge=1, le=_COUNT_MAX)]
_ByName = dict[str, Annotated[int, Field(strict=True, ge=0, le=_COUNT_MAX)]]
_FORMS: dict[bool, TypeAdapter[Any]] = {True: TypeAdapter(_ByName), False: TypeAdapter(_Every)}


def _quota(given: Any) -> int | dict[str, int]:
    # One form or the other, so that a mistake is told of the form that was meant.
    found: int | dict[str, int] = _FORMS[isinstance(given, dict)].validate_python(given)
    return found


PerClass = Annotated[int | dict[str, int], PlainValidator(_quota, json_schema_input_type=_Every | _ByName)]


class SuggestDefaults(Request):
    """A project's defaults for what a request for suggestions leaves out."""

    strategy: StrategyName = "auto"
    options: Json = Field(default_factory=dict)
    lease_seconds: Annotated[int, Field(strict=True, ge=0, le=604_800)] = Field(
        default=600, description="how long a named annotator holds a suggestion"
    )
    retrain_after: Annotated[int, Field(strict=True, ge=0, le=10_000_000)] = Field(
        default=200, description="labels that the checkpoint has not seen from which on retraining is advised; 0: never"
    )
    stop_below: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005,
        description="share of candidates whose predicted class a label changes, on average over the last ones, below "
        "which stopping is advised; 0: never",
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
    count: Annotated[int, Field(strict=True, ge=1, le=_COUNT_MAX)] = 1
    strategy: StrategyName | None = Field(default=None, description="default: the project's, which is auto")
    options: Json = Field(default_factory=dict, description="see GET /strategies")
    annotator: Tag | None = None
    lease_seconds: Annotated[int, Field(strict=True, ge=0, le=604_800)] | None = Field(
        default=None,
        description="keep the items from others for this long; 0 only peeks. Default: the project's for a "
        "named annotator, 0 without a name",
    )
    seed: Seed | None = None
    exclude: list[ItemId] = Field(default=[], max_length=50_000, description="items not to suggest this time")
    filter: Filter | None = Field(default=None, description="suggest only items whose attributes match")
    per_class: PerClass | None = Field(
        default=None, description="at most so many per predicted class: one number, or numbers by class name"
    )
    random_share: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(
        default=0.0, description="share of the suggestions that are drawn at random instead"
    )
    min_distance: Annotated[float, Field(strict=True, gt=0, le=10)] | None = Field(
        default=None,
        description="pass over near duplicates: distance in the kernel's feature space to labeled items and among "
        "suggestions, in units of the root mean kernel diagonal",
    )


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
    picked_by: str = Field(default="", description="the strategy, or random for the random share")


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
    reason: str | None = Field(default=None, description="why this strategy, or why fewer than asked for")
    notes: list[str] = Field(default=[], description="what to know about how the strategy decided")
    diagnostics: Json = Field(default={}, description="figures of the strategy about the batch and the labeled set")


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
    needs: list[Literal["checkpoint", "labels", "loss_predictor"]]
    memory: str = Field(
        description="bytes beside the kernel model, as a formula; see docs/strategies.md for its letters"
    )
    time: str = Field(description="multiplications up to a constant, as a formula")
    options: dict[str, Any] = Field(description="JSON schema of `options`")


class StrategyList(Answer):
    """Every strategy."""

    strategies: list[Strategy]
