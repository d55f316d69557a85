"""API keys as rows: made, found by digest, replaced, ended. Their secrets never come here."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from store.tables import ApiKey


@dataclass(frozen=True)
class Rights:
    """What a key may do, where, how often, until when. None is without bounds: all projects, any number, for ever."""

    scopes: tuple[str, ...]
    projects: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


class ReplacedError(ValueError):
    """The key was replaced before."""

    def __init__(self, successor: str) -> None:
        super().__init__(successor)
        self.successor = successor


def create(session: Session, *, name: str, prefix: str, digest: str, rights: Rights) -> ApiKey:
    """A new key."""
    key = ApiKey(
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=list(rights.scopes),
        projects=None if rights.projects is None else list(rights.projects),
        requests_per_minute=rights.requests_per_minute,
        expires_at=rights.expires_at,
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    return key


def rights_of(key: ApiKey) -> Rights:
    """What a key may do."""
    return Rights(
        tuple(key.scopes),
        None if key.projects is None else tuple(key.projects),
        key.requests_per_minute,
        key.expires_at,
    )


def state(key: ApiKey) -> str:
    """live, expired or revoked, by this process's clock."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "live"


def by_digest(session: Session, digest: str) -> ApiKey | None:
    """The key of a secret, live or not."""
    return session.scalars(sa.select(ApiKey).where(ApiKey.digest == digest)).first()


def by_prefix(session: Session, prefix: str, *, lock: bool = False) -> ApiKey | None:
    """The key that a prefix names, locked until commit if it is about to change."""
    query = sa.select(ApiKey).where(ApiKey.prefix == prefix)
    return session.scalars(query.with_for_update() if lock else query).first()


def page(session: Session, *, within: Collection[str] | None, after: str | None, limit: int) -> list[ApiKey]:
    """Keys in the order they were made, past the one with prefix `after`; `within`: only for these projects."""
    query = sa.select(ApiKey).order_by(ApiKey.id).limit(limit)
    if within is not None:
        # Null, which stands for all projects, is contained in nothing.
        query = query.where(ApiKey.projects.op("<@")(sa.cast(sorted(within), JSONB)))
    if after is not None:
        query = query.where(ApiKey.id > sa.select(ApiKey.id).where(ApiKey.prefix == after).scalar_subquery())
    return list(session.scalars(query))


def any_live(session: Session) -> bool:
    """Whether some key would be let in now."""
    live = sa.and_(ApiKey.revoked_at.is_(None), sa.or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > sa.func.now()))
    return session.scalars(sa.select(ApiKey.id).where(live).limit(1)).first() is not None


def revoke(session: Session, key: ApiKey) -> None:
    """End a key now; one that has ended stays as it was."""
    if key.revoked_at is None:
        key.revoked_at = datetime.now(UTC)
        session.flush()


def replace(
    session: Session, key: ApiKey, *, prefix: str, digest: str, expires_at: datetime | None, grace: timedelta
) -> ApiKey:
    """A key with the rights of `key`, which must be locked and ends after `grace`. Raises ReplacedError.

    A key is replaced once: of two who rotate it at the same time, one gets the new key.
    """
    if key.replaced_by is not None:
        raise ReplacedError(key.replaced_by)
    rights = rights_of(key)
    made = create(
        session,
        name=key.name,
        prefix=prefix,
        digest=digest,
        rights=Rights(rights.scopes, rights.projects, rights.requests_per_minute, expires_at),
    )
    ends = datetime.now(UTC) + grace
    key.replaced_by = prefix
    key.expires_at = ends if key.expires_at is None else min(ends, key.expires_at)
    session.flush()
    return made
