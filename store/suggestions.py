"""Suggestions and their leases: two annotators never hold the same item."""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.pools import open_lease, still_held
from store.tables import Item, Json, Suggestion


def held_by_others(session: Session, project_id: int, annotator: str | None) -> set[int]:
    """Positions of items leased to somebody else. Without a name, every lease is somebody else's."""
    query = sa.select(Suggestion.item_position).where(open_lease(project_id))
    if annotator is not None:
        query = query.where(Suggestion.annotator.is_distinct_from(annotator))
    return set(session.scalars(query))


def held(session: Session) -> int:
    """How many suggestions are leased now, in all projects."""
    return session.scalar(sa.select(sa.func.count()).where(still_held())) or 0


def lock_leases(session: Session, project_id: int) -> None:
    """Serialise the handing out of leases in one project until commit."""
    session.execute(sa.text("SELECT pg_advisory_xact_lock(:space, :project)"), _key(project_id))


def _key(project_id: int) -> dict[str, int]:
    return {"space": 0x1EA5E, "project": project_id}


def record(
    session: Session,
    *,
    project_id: int,
    job_id: str,
    strategy: str,
    annotator: str | None,
    lease: timedelta | None,
    picks: Sequence[tuple[int, float, Json]],
) -> None:
    """Store (position, score, detail) in rank order. `lease` None means nobody holds them.

    An annotator's earlier leases on the same items end: asking again renews.
    """
    if not picks:
        return
    if lease is not None and annotator is not None:
        session.execute(
            sa.update(Suggestion)
            .where(
                open_lease(project_id),
                Suggestion.annotator == annotator,
                Suggestion.item_position.in_([position for position, _, _ in picks]),
            )
            .values(lease_until=None)
        )
    until = sa.func.now() + lease if lease is not None else None
    session.execute(
        sa.insert(Suggestion).values(lease_until=until),
        [
            {
                "project_id": project_id,
                "job_id": job_id,
                "item_position": position,
                "rank": rank,
                "score": score,
                "strategy": strategy,
                "detail": detail,
                "annotator": annotator,
            }
            for rank, (position, score, detail) in enumerate(picks, start=1)
        ],
    )


def resolve_settled(session: Session, project_id: int) -> None:
    """End the open leases on items that are candidates no more."""
    session.execute(
        sa.update(Suggestion)
        .where(
            open_lease(project_id),
            Item.project_id == project_id,
            Item.position == Suggestion.item_position,
            sa.or_(Item.label.is_not(None), Item.skipped),
        )
        .values(resolved_seq=Item.label_seq)
        .execution_options(synchronize_session=False)
    )
