"""Leases: items that somebody holds."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api_schemas.common import Answer, ItemId, Name, Request, Tag


class LeasesRequest(Request):
    """Some of an annotator's leases, or all."""

    project: Name
    annotator: Tag
    items: list[ItemId] | None = Field(
        default=None, max_length=50_000, description="default: everything the annotator holds"
    )


class LeasesRelease(LeasesRequest):
    """Give items back: others may get them at once."""


class LeasesRenew(LeasesRequest):
    """Hold items for longer."""

    lease_seconds: Annotated[int, Field(strict=True, ge=1, le=604_800)] | None = Field(
        default=None, description="from now; default: the project's"
    )


class LeaseEnd(Answer):
    """Until when an item is held."""

    item: str
    lease_until: datetime


class LeasesRenewed(Answer):
    """What is held on, and what was lost."""

    leases: list[LeaseEnd]
    expired: list[str] = Field(description="items that the annotator does not hold any more: ask for others")


class LeasesReleased(Answer):
    """What was given back."""

    released: list[str] = Field(description="items asked for and not held are not among them")


class Lease(Answer):
    """An item that somebody holds."""

    item: str
    annotator: str | None = Field(description="null where a request without a name took it")
    since: datetime
    lease_until: datetime
    rank: int
    strategy: str


class LeasePage(Answer):
    """Open leases in pool order."""

    leases: list[Lease]
    next: int | None = Field(description="pass as `after` for the next page")
