"""Who may do what, what they did, and which requests were answered before."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, Integer, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


class ApiKey(Base):
    """A bearer key: only its SHA-256 is kept; the prefix tells people which one it is."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(server_default='["admin"]')
    projects: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True), comment="names; null means all")
    requests_per_minute: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    replaced_by: Mapped[str | None] = mapped_column(comment="prefix of the key that took its place")


class AuditEntry(Base):
    """One request that changed something, or was refused for its key. Labels are audited by their own log."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_project", "project", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_prefix: Mapped[str | None]
    method: Mapped[str]
    path: Mapped[str]
    project: Mapped[str | None]
    status: Mapped[int]
    request_id: Mapped[str]
    client: Mapped[str | None] = mapped_column(comment="network address")


class IdempotencyKey(Base):
    """A request's own key with the answer it got, written in the transaction that did its work."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    owner: Mapped[str] = mapped_column(primary_key=True, comment="prefix of the API key; empty without keys")
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(comment="SHA-256 of what was asked")
    answer: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    # No reference: it is not to keep a project's row from going.
    project_id: Mapped[int | None] = mapped_column(comment="the answer holds as long as this project")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
