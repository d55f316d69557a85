"""How a project's kernel model looks inside; the truth about held-out items."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from api_schemas.common import Answer, ItemId, Request
from api_schemas.labels import Label
from api_schemas.projects import AdviceCode

HELD_OUT_LABELS_MAX = 100_000


class Spectrum(Answer):
    """Eigenvalues of the kernel over the window, without ridge."""

    eigenvalues: list[float] = Field(description="descending")
    items: int = Field(description="items of the window that they were computed from: all, or a sample drawn by seed")


class Scores(Answer):
    """Acquisition scores of all candidates, at the last suggestion whose strategy scores each of them."""

    strategy: str
    label_seq: int
    edges: list[float] = Field(description="of the bins, one more than there are bins")
    counts: list[int]
    smallest: float
    median: float
    largest: float


class ClassBalance(Answer):
    """How often a class was labeled, and how often it is predicted."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(alias="class")
    labels: int
    predicted: int | None = Field(description="candidates of this predicted class; null before the first prediction")


class Arrivals(Answer):
    """Labels and skips that came in one span of time."""

    at: datetime = Field(description="when the span begins; each ends where the next begins")
    labels: int
    skips: int


class Drift(Answer):
    """How far the labels have moved the kernel model from its checkpoint, and what that advises."""

    changed_predictions: float | None
    labels_since_checkpoint: int | None
    advice_codes: list[AdviceCode]


class HeldOut(Answer):
    """Held-out items whose class is known."""

    labels: int = Field(description="how many there are")
    accuracy: float | None = Field(
        description="of the kernel model on them, or on 2,000 drawn by seed; null until known"
    )


class Diagnostics(Answer):
    """The kernel model of a project from inside, and the labels that it rests on."""

    label_seq: int
    kernel: str | None
    spectrum: Spectrum | None
    condition: float | None
    jitter: float
    scores: Scores | None
    classes: list[ClassBalance]
    arrivals: list[Arrivals] = Field(description="at most 120 spans of one length, from the first label to the last")
    drift: Drift
    held_out: HeldOut | None = Field(description="null where no held-out item has a label")


class HeldOutLabel(Request):
    """The true class of a held-out item; null takes it back."""

    item: ItemId
    label: Label | None


class HeldOutLabels(Request):
    """True classes of held-out items: all are taken, or none."""

    labels: Annotated[list[HeldOutLabel], Field(min_length=1, max_length=HELD_OUT_LABELS_MAX)]


class HeldOutLabelsAccepted(Answer):
    """How many were taken, and how many held-out items have a label now."""

    accepted: int
    labeled: int
