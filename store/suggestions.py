"""Suggestions and their leases: two annotators never hold the same item.

Times are those of the statement and not of its transaction: a transaction that waited for the lock must not date
what it writes before what it waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from store.alive import alive
from store.pools import open_lease, still_held
from store.rows import PROJECT
from store.tables import Item, Json, Suggestion

_NOW = sa.func.statement_timestamp()
_SUGGESTIONS = cast(sa.Table, Suggestion.__table__)
_HELD = sa.select(Suggestion.item_position).where(Suggestion.project_id == PROJECT, still_held())
_HELD_BY_OTHERS = _HELD.where(Suggestion.annotator.is_distinct_from(sa.bindparam("annotator", type_=sa.Text)))


@dataclass(frozen=True)
class Renewed:
    """What became of a request to renew: position -> end of the lease, and positions that were not theirs."""

    until: dict[int, datetime]
    expired: list[int]


def held_by_others(session: Session, project_id: int, annotator: str | None) -> set[int]:
    """Positions of items leased to somebody else. Without a name, every lease is somebody else's."""
    if annotator is None:
        return set(session.scalars(_HELD, {"project": project_id}))
    return set(session.scalars(_HELD_BY_OTHERS, {"project": project_id, "annotator": annotator}))


def held(session: Session) -> int:
    """How many suggestions are leased now, in all projects."""
    return session.scalar(sa.select(sa.func.count()).where(still_held(), alive(Suggestion.project_id))) or 0


def lock_leases(session: Session, project_id: int) -> None:
    """Serialise the handing out, renewing and giving back of leases in one project until commit."""
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

    An annotator's earlier leases on the same items end: asking again renews. Call under `lock_leases` with a lease.
    """
    if not picks:
        return
    if lease is not None and annotator is not None:
        release(session, project_id, annotator, [position for position, _, _ in picks])
    until = _NOW + lease if lease is not None else None
    session.execute(
        sa.insert(_SUGGESTIONS).values(lease_until=until, created_at=_NOW),
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


def release(session: Session, project_id: int, annotator: str, positions: Sequence[int] | None = None) -> list[int]:
    """End an annotator's open leases, on these items or all; returns their positions. Call under `lock_leases`."""
    mine = [open_lease(project_id), Suggestion.annotator == annotator]
    if positions is not None:
        mine.append(_one_of(positions))
    released = session.scalars(
        sa.update(Suggestion)
        .where(*mine)
        .values(released_at=_NOW)
        .returning(Suggestion.item_position)
        .execution_options(synchronize_session=False)
    )
    return sorted(released)


def renew(
    session: Session, project_id: int, annotator: str, lease: timedelta, positions: Sequence[int] | None = None
) -> Renewed:
    """Let an annotator's leases last for `lease` from now; without positions, the open ones. Under `lock_leases`.

    An expired lease begins anew if the item is still to be labeled and nobody else holds it.
    """
    mine = [open_lease(project_id), Suggestion.annotator == annotator]
    if positions is not None:
        mine.append(_one_of(positions))
    rows = session.execute(
        sa.update(Suggestion)
        .where(*mine)
        .values(lease_until=_NOW + lease)
        .returning(Suggestion.item_position, Suggestion.lease_until)
        .execution_options(synchronize_session=False)
    )
    until = {row[0]: row[1] for row in rows if row[1] is not None}
    missing = [] if positions is None else [position for position in positions if position not in until]
    if missing:
        until |= _taken_up_again(session, project_id, annotator, lease, missing)
    return Renewed(until, [position for position in missing if position not in until])


def _taken_up_again(
    session: Session, project_id: int, annotator: str, lease: timedelta, positions: Sequence[int]
) -> dict[int, datetime]:
    """Open new leases in place of expired ones, where that is still possible; position -> end."""
    # A row of its own: the time in between belonged to nobody, and the rows should say so.
    last = (
        sa.select(Suggestion)
        .ext(distinct_on(Suggestion.item_position))
        .where(
            Suggestion.project_id == project_id,
            Suggestion.annotator == annotator,
            Suggestion.lease_until.is_not(None),
            _one_of(positions),
        )
        .order_by(Suggestion.item_position, Suggestion.id.desc())
        .subquery()
    )
    expired = session.execute(
        sa.select(last)
        .join(Item, sa.and_(Item.project_id == last.c.project_id, Item.position == last.c.item_position))
        .where(
            last.c.released_at.is_(None),
            last.c.resolved_seq.is_(None),
            Item.label.is_(None),
            Item.skipped.is_(False),
            last.c.item_position.not_in(sa.select(Suggestion.item_position).where(open_lease(project_id))),
        )
    ).all()
    if not expired:
        return {}
    session.execute(
        sa.update(Suggestion)
        .where(Suggestion.id.in_([row.id for row in expired]))
        .values(released_at=_NOW)
        .execution_options(synchronize_session=False)
    )
    kept = ("project_id", "job_id", "item_position", "rank", "score", "strategy", "detail", "annotator")
    rows = session.execute(
        sa.insert(Suggestion)
        .values(lease_until=_NOW + lease, created_at=_NOW)
        .returning(Suggestion.item_position, Suggestion.lease_until),
        [{name: getattr(row, name) for name in kept} for row in expired],
    )
    return {row[0]: row[1] for row in rows if row[1] is not None}


def page(
    session: Session, project_id: int, *, annotator: str | None, after: int, limit: int
) -> list[tuple[Suggestion, str]]:
    """Open leases on items past position `after` with the items' external ids, in pool order."""
    query = (
        sa.select(Suggestion, Item.external_id)
        .join(Item, sa.and_(Item.project_id == Suggestion.project_id, Item.position == Suggestion.item_position))
        .where(open_lease(project_id), Suggestion.item_position > after)
        .order_by(Suggestion.item_position)
        .limit(limit)
    )
    if annotator is not None:
        query = query.where(Suggestion.annotator == annotator)
    return [(row[0], row[1]) for row in session.execute(query)]


def _one_of(positions: Sequence[int]) -> sa.ColumnElement[bool]:
    return Suggestion.item_position == sa.any_(sa.bindparam("at", list(positions), type_=sa.ARRAY(sa.Integer)))
