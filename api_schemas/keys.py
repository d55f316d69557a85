"""API keys and the audit log."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api_schemas.common import Answer, Name, Request, Tag

Scope = Literal["read", "label", "suggest", "admin"]
Days = Annotated[int, Field(strict=True, ge=1, le=3650)]
PerMinute = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class KeyCreate(Request):
    """A key to make. What is left out is as much as the asking key itself has."""

    name: Tag = Field(description="who or what it is for", examples=["label studio"])
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] = Field(
        description="what it may do; admin implies the others", examples=[["label", "suggest"]]
    )
    projects: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="names of the only projects that it sees"
    )
    requests_per_minute: PerMinute | None = None
    expires_days: Days | None = None


class KeyRotate(Request):
    """How a key is replaced."""

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=30 * 86_400)] = Field(
        default=3600, description="how long the old key goes on; 0: it ends at once"
    )
    expires_days: Days | None = Field(default=None, description="of the new key; left out: as the old one did")


class Key(Answer):
    """What is known of a key. The key itself is not kept."""

    prefix: str
    name: str
    state: Literal["live", "expired", "revoked"]
    scopes: list[Scope]
    projects: list[str] | None = Field(description="null: all")
    requests_per_minute: int | None = Field(description="null: any number")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None = Field(description="prefix of the key that took its place")


class NewKey(Key):
    """A key that was just made: the only answer that has it."""

    key: str


class KeyList(Answer):
    """Keys in the order they were made."""

    keys: list[Key]
    next: str | None = Field(description="pass as `after` for the next page; null on the last")


class AuditEntry(Answer):
    """One request that changed something, or was refused."""

    id: int
    at: datetime
    key_prefix: str | None = Field(description="null: no key, or none that is known")
    method: str
    path: str = Field(description="the route's template, with ids of keys and jobs filled in")
    project: str | None
    status: int
    request_id: str
    client: str | None = Field(description="network address")


class AuditPage(Answer):
    """Entries, oldest first."""

    entries: list[AuditEntry]
    next: int = Field(description="pass as `after` for what comes later, even if there is nothing yet")
