"""The label log: one event, one sequence number, folded into opinions and items where it is appended."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import opinions
from store.database import expect_rows
from store.errors import ProjectGoneError
from store.opinions import NewEvent, Rule
from store.rows import PROJECT, listed, listed_voices, rows, voices_of
from store.tables import Item, LabelEvent, Project, Suggestion

__all__ = ["ItemState", "NewEvent", "append", "counted", "page", "recorded", "touched"]


_EVENTS, _SUGGESTIONS, _PROJECTS = (cast(sa.Table, mapped.__table__) for mapped in (LabelEvent, Suggestion, Project))
_ADVANCE = (
    sa.update(_PROJECTS)
    .where(Project.id == PROJECT, Project.deleted_at.is_(None))
    .values(label_seq=Project.label_seq + sa.bindparam("more", type_=sa.Integer))
    .returning(_PROJECTS.c.label_seq, _PROJECTS.c.labeling)
)
_TOUCHED = (
    sa.select(Project.label_seq, Item.position, Item.label, Item.label_seq, Item.skipped)
    .select_from(Project)
    .join(
        Item,
        sa.and_(
            Item.project_id == Project.id,
            Item.label_seq > sa.bindparam("after", type_=sa.BigInteger),
            Item.held_out.is_(False),
        ),
        isouter=True,
    )
    .where(Project.id == PROJECT)
    .order_by(Item.label_seq)
)
_RECORDED = sa.select(LabelEvent).where(
    LabelEvent.project_id == PROJECT, LabelEvent.event_id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.Text)))
)


@dataclass(frozen=True)
class ItemState:
    """An item's standing after all events so far."""

    position: int
    label: int | None
    label_seq: int
    skipped: bool


def append(session: Session, project_id: int, events: Sequence[NewEvent]) -> int:
    """Append events in order, fold them into opinions and items, resolve open suggestions; returns the last sequence.

    The project's row lock is held until commit, so sequence numbers become visible in order and without gaps:
    a reader that has seen `seq` has seen everything before it. An item may occur in several of the events; the
    number of statements does not depend on how many there are. Raises ProjectGoneError.
    """
    expect_rows(session, len(events))
    advanced = session.execute(_ADVANCE, {"project": project_id, "more": len(events)}).one_or_none()
    if advanced is None:
        raise ProjectGoneError(f"project {project_id} was deleted")
    last, labeling = advanced
    first: int = last - len(events) + 1
    _insert(session, project_id, events, first)
    batch = opinions.record(session, project_id, events, first)
    opinions.fold(session, project_id, Rule.of(labeling), batch)
    _resolve(session, project_id, events, batch)
    return int(last)


def _insert(session: Session, project_id: int, events: Sequence[NewEvent], first: int) -> None:
    values = listed(
        "events",
        seq=range(first, first + len(events)),
        item_position=(event.item_position for event in events),
        kind=(event.kind for event in events),
        class_index=(event.class_index for event in events),
        annotator=(event.annotator for event in events),
        event_id=(event.event_id for event in events),
        own=(event.own for event in events),
        key_id=(event.key_id for event in events),
    )
    session.execute(_insert_events(), {"project": project_id, **values})


@cache
def _insert_events() -> sa.Insert:
    values = rows(
        "events",
        seq=sa.BigInteger,
        item_position=sa.Integer,
        kind=sa.Text,
        class_index=sa.Integer,
        annotator=sa.Text,
        event_id=sa.Text,
        own=sa.Boolean,
        key_id=sa.Integer,
    )
    names = [column.name for column in values.c]
    return sa.insert(_EVENTS).from_select(["project_id", *names], sa.select(PROJECT, *values.c))


def _resolve(session: Session, project_id: int, events: Sequence[NewEvent], batch: opinions.Batch) -> None:
    """End the leases of annotators who have had their say, and everybody's on items that are candidates no more."""
    touched = listed("touched", position=batch.touched, seq=batch.touched.values())
    heard = listed_voices("heard", {event.voice for event in events})
    session.execute(_resolve_leases(), {"project": project_id, **touched, **heard})


@cache
def _resolve_leases() -> sa.Update:
    touched = rows("touched", position=sa.Integer, seq=sa.BigInteger)
    said = voices_of("heard")
    had_their_say = sa.exists().where(
        said.c.position == touched.c.position,
        said.c.annotator == sa.func.coalesce(Suggestion.annotator, opinions.NOBODY),
    )
    return (
        sa.update(_SUGGESTIONS)
        .where(
            Suggestion.project_id == PROJECT,
            Suggestion.item_position == touched.c.position,
            Suggestion.lease_until.is_not(None),
            Suggestion.resolved_seq.is_(None),
            Suggestion.released_at.is_(None),
            Item.project_id == PROJECT,
            Item.position == touched.c.position,
            sa.or_(Item.label.is_not(None), Item.skipped, had_their_say),
        )
        .values(resolved_seq=touched.c.seq)
    )


def recorded(session: Session, project_id: int, event_ids: Sequence[str]) -> dict[str, LabelEvent]:
    """The events recorded under callers' own ids, by id."""
    found = session.scalars(_RECORDED, {"project": project_id, "ids": list(event_ids)})
    return {event.event_id: event for event in found if event.event_id is not None}


def touched(session: Session, project_id: int, after_seq: int) -> tuple[int, list[ItemState]]:
    """(label_seq, items with an event past `after_seq` as they stand at label_seq), in order of arrival.

    One statement, so both halves are of one snapshot.
    """
    rows = session.execute(_TOUCHED, {"project": project_id, "after": after_seq}).all()
    states = [ItemState(row[1], row[2], row[3] or 0, row[4]) for row in rows if row[1] is not None]
    return rows[0][0], states


def counted(session: Session, project_id: int) -> tuple[int, int]:
    """(items that carry a label, classes that have one)."""
    labeled, classes = session.execute(
        sa.select(sa.func.count(Item.label), sa.func.count(sa.distinct(Item.label))).where(
            # Said again in terms of the index: the count must not grow with the pool.
            Item.project_id == project_id,
            Item.label_seq.is_not(None),
        )
    ).one()
    return labeled, classes


def page(
    session: Session,
    project_id: int,
    *,
    after_seq: int,
    limit: int,
    annotator: str | None = None,
    item_position: int | None = None,
) -> list[tuple[LabelEvent, str]]:
    """Events past `after_seq` with their items' external ids, in order; of one annotator or one item, if asked."""
    query = (
        sa.select(LabelEvent, Item.external_id)
        .join(
            Item,
            sa.and_(Item.project_id == LabelEvent.project_id, Item.position == LabelEvent.item_position),
        )
        .where(LabelEvent.project_id == project_id, LabelEvent.seq > after_seq)
        .order_by(LabelEvent.seq)
        .limit(limit)
    )
    if annotator is not None:
        query = query.where(LabelEvent.annotator == annotator)
    if item_position is not None:
        query = query.where(LabelEvent.item_position == item_position)
    return [(row[0], row[1]) for row in session.execute(query)]
