"""The audit log: one row for each request that changed something or was refused."""

from collections.abc import Collection
from typing import TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.tables import AuditEntry


class Entry(TypedDict):
    """What is known of a request once its answer is."""

    key_prefix: str | None
    method: str
    path: str
    project: str | None
    status: int
    request_id: str
    client: str | None


def record(session: Session, entry: Entry) -> None:
    """Append an entry."""
    session.execute(sa.insert(AuditEntry).values(**entry))


def page(
    session: Session,
    *,
    within: Collection[str] | None,
    project: str | None = None,
    after: int | None = None,
    limit: int,
) -> list[AuditEntry]:
    """Entries past the id `after`, oldest first; without it the last ones. `within`: only of these projects."""
    order = AuditEntry.id.desc() if after is None else AuditEntry.id.asc()
    query = sa.select(AuditEntry).order_by(order).limit(limit)
    if within is not None:
        query = query.where(AuditEntry.project.in_(sorted(within)))
    if project is not None:
        query = query.where(AuditEntry.project == project)
    if after is not None:
        query = query.where(AuditEntry.id > after)
    found = list(session.scalars(query))
    return found[::-1] if after is None else found
