"""The label log."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from api_schemas.common import Answer, ItemId, Name, Request, Tag

ClassIndex = Annotated[int, Field(strict=True, ge=0, lt=10_000)]
Label = Annotated[str, Field(max_length=200)] | ClassIndex


class LabelEntry(Request):
    """What an annotator says of one item: a class, a skip, or (`label: null`) that neither holds any more."""

    item: ItemId
    label: Label | None = Field(default=None, description="a class, by name or by index; null withdraws")
    skip: StrictBool = False
    own: StrictBool = Field(default=False, description="with skip: only this annotator does not get the item")
    annotator: Tag | None = None
    event_id: Tag | None = Field(default=None, description="your own id: sent again, nothing happens twice")

    @model_validator(mode="after")
    def _one_of(self) -> "LabelEntry":
        said_label = "label" in self.model_fields_set
        if said_label == self.skip:
            raise ValueError('say either "label" (a class, or null to withdraw) or "skip": true')
        if self.own and not (self.skip and self.annotator is not None):
            raise ValueError('"own": true goes with "skip": true and an annotator, who alone does not get the item')
        return self


class LabelRequest(LabelEntry):
    """One label for one project."""

    project: Name


class LabelAccepted(Answer):
    """The label is on disk and has this place in the project's log."""

    seq: int
    item: str
    label: str | None
    skip: bool = False


class LabelsRequest(Request):
    """Many labels at once: all are taken, or none."""

    project: Name
    labels: Annotated[list[LabelEntry], Field(min_length=1, max_length=100_000)]


class LabelsAccepted(Answer):
    """Where the labels are in the log, those among them that were there before by their event_id."""

    first_seq: int = Field(description="the lowest sequence number of these labels")
    last_seq: int = Field(description="the highest")
    accepted: int = Field(description="how many they are")


class LabelEvent(Answer):
    """One entry of the log."""

    seq: int
    item: str
    kind: Literal["label", "skip", "withdraw"]
    label: str | None
    own: bool = Field(default=False, description="a skip that holds for its annotator only")
    annotator: str | None
    event_id: str | None
    created_at: datetime


class LabelPage(Answer):
    """One page of the log, in order."""

    labels: list[LabelEvent]
    label_seq: int = Field(description="the log's last sequence number")
    next: int | None = Field(description="pass as `after_seq` for the next page")
