"""The label log and its fold: one event, one sequence number, one row of the items table."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.tables import Item, LabelEvent, Project, Suggestion


@dataclass(frozen=True)
class NewEvent:
    """What an annotator said of one item, before it has a sequence number."""

    item_position: int
    kind: str  # label | skip | withdraw
    class_index: int | None = None
    annotator: str | None = None
    event_id: str | None = None


@dataclass(frozen=True)
class ItemState:
    """An item's standing after all events so far."""

    position: int
    label: int | None
    label_seq: int
    skipped: bool


def append(session: Session, project_id: int, events: Sequence[NewEvent]) -> int:
    """Append events in order, fold them into the items, resolve open suggestions; returns the last sequence.

    The project's row lock is held until commit, so sequence numbers become visible in order and without gaps:
    a reader that has seen `seq` has seen everything before it.
    """
    last: int = session.execute(
        sa.update(Project)
        .where(Project.id == project_id)
        .values(label_seq=Project.label_seq + len(events))
        .returning(Project.label_seq)
    ).scalar_one()
    first = last - len(events) + 1
    session.execute(
        sa.insert(LabelEvent),
        [
            {
                "project_id": project_id,
                "seq": first + offset,
                "item_position": event.item_position,
                "kind": event.kind,
                "class_index": event.class_index,
                "annotator": event.annotator,
                "event_id": event.event_id,
            }
            for offset, event in enumerate(events)
        ],
    )
    _fold(session, project_id, {event.item_position: (first + k, event) for k, event in enumerate(events)})
    return last


def _fold(session: Session, project_id: int, latest: dict[int, tuple[int, NewEvent]]) -> None:
    positions = (
        sa.func.unnest(
            sa.bindparam("positions", list(latest), type_=sa.ARRAY(sa.Integer)),
            sa.bindparam("seqs", [seq for seq, _ in latest.values()], type_=sa.ARRAY(sa.BigInteger)),
            sa.bindparam("labels", [e.class_index for _, e in latest.values()], type_=sa.ARRAY(sa.Integer)),
            sa.bindparam("skips", [e.kind == "skip" for _, e in latest.values()], type_=sa.ARRAY(sa.Boolean)),
        )
        .table_valued(
            sa.column("position", sa.Integer),
            sa.column("seq", sa.BigInteger),
            sa.column("label", sa.Integer),
            sa.column("skipped", sa.Boolean),
        )
        .render_derived(name="folded")
    )
    session.execute(
        sa.update(Item)
        .where(Item.project_id == project_id, Item.position == positions.c.position)
        .values(label=positions.c.label, label_seq=positions.c.seq, skipped=positions.c.skipped)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(Suggestion)
        .where(
            Suggestion.project_id == project_id,
            Suggestion.item_position == positions.c.position,
            Suggestion.lease_until.is_not(None),
            Suggestion.resolved_seq.is_(None),
        )
        .values(resolved_seq=positions.c.seq)
        .execution_options(synchronize_session=False)
    )


def by_event_id(session: Session, project_id: int, event_id: str) -> LabelEvent | None:
    """The event recorded under a caller's own id."""
    return session.scalars(
        sa.select(LabelEvent).where(LabelEvent.project_id == project_id, LabelEvent.event_id == event_id)
    ).first()


def touched(session: Session, project_id: int, after_seq: int) -> tuple[int, list[ItemState]]:
    """(label_seq, items with an event past `after_seq` as they stand at label_seq), in order of arrival.

    One statement, so both halves are of one snapshot.
    """
    rows = session.execute(
        sa.select(Project.label_seq, Item.position, Item.label, Item.label_seq, Item.skipped)
        .select_from(Project)
        .join(
            Item,
            sa.and_(Item.project_id == Project.id, Item.label_seq > after_seq, Item.held_out.is_(False)),
            isouter=True,
        )
        .where(Project.id == project_id)
        .order_by(Item.label_seq)
    ).all()
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


def page(session: Session, project_id: int, after_seq: int, limit: int) -> list[tuple[LabelEvent, str]]:
    """Events past `after_seq` with their items' external ids, in order."""
    rows = session.execute(
        sa.select(LabelEvent, Item.external_id)
        .join(
            Item,
            sa.and_(Item.project_id == LabelEvent.project_id, Item.position == LabelEvent.item_position),
        )
        .where(LabelEvent.project_id == project_id, LabelEvent.seq > after_seq)
        .order_by(LabelEvent.seq)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]
