"""Suggestions against the log: no item leased to two annotators at a time, none suggested that was labeled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.tables import Item, Job, LabelEvent, Suggestion

# A lease that an event ended may be followed by one whose transaction began before that event's and waited for a
# lock: times are those of the beginning of transactions. Leases that ran out by themselves get no such allowance.
LOCK_SECONDS = 3.0


@dataclass(frozen=True)
class Lease:
    """From when until when somebody held an item."""

    id: int
    item: str
    annotator: str | None
    start: datetime
    stop: datetime
    ended_by_event: bool


def leases(session: Session, project_id: int) -> list[Lease]:
    """Every lease there was, by item and beginning. One whose end a renewal removed is its successor's."""
    event = sa.orm.aliased(LabelEvent)
    rows = session.execute(
        sa.select(Suggestion, Item.external_id, event.created_at)
        .join(Item, sa.and_(Item.project_id == Suggestion.project_id, Item.position == Suggestion.item_position))
        .join(
            event,
            sa.and_(event.project_id == Suggestion.project_id, event.seq == Suggestion.resolved_seq),
            isouter=True,
        )
        .where(Suggestion.project_id == project_id, Suggestion.lease_until.is_not(None))
        .order_by(Suggestion.item_position, Suggestion.created_at)
    )
    found = []
    for suggestion, item, resolved_at in rows:
        assert suggestion.lease_until is not None
        ends = [end for end in (resolved_at, suggestion.released_at) if end is not None]
        stop = min([suggestion.lease_until, *ends])
        found.append(
            Lease(suggestion.id, item, suggestion.annotator, suggestion.created_at, stop, stop < suggestion.lease_until)
        )
    return found


def check_leases(held: Sequence[Lease]) -> list[str]:
    """No two annotators held an item at the same time."""
    wrong = []
    for item in {lease.item for lease in held}:
        of_item = [lease for lease in held if lease.item == item]
        for place, later in enumerate(of_item):
            for earlier in of_item[:place]:
                if earlier.annotator == later.annotator:
                    continue
                allowed = timedelta(seconds=LOCK_SECONDS if earlier.ended_by_event else 0)
                if later.start < earlier.stop - allowed and later.start < later.stop:
                    wrong.append(
                        f"{item}: suggestion {earlier.id} gave it to {earlier.annotator} from {earlier.start} to "
                        f"{earlier.stop}, and suggestion {later.id} to {later.annotator} from {later.start}"
                    )
    return wrong


def check_unlabeled(session: Session, project_id: int) -> list[str]:
    """No item was suggested that the log had as labeled or skipped up to the answer's `label_seq`."""
    history: dict[int, list[tuple[int, str]]] = {}
    for event in session.scalars(
        sa.select(LabelEvent).where(LabelEvent.project_id == project_id).order_by(LabelEvent.seq)
    ):
        history.setdefault(event.item_position, []).append((event.seq, event.kind))
    rows = session.execute(
        sa.select(Suggestion.id, Suggestion.item_position, Job.id, sa.cast(Job.result["label_seq"].astext, sa.Integer))
        .join(Job, Job.id == Suggestion.job_id)
        .where(Suggestion.project_id == project_id)
    )
    wrong = []
    for suggestion, position, job, label_seq in rows:
        before = [event for event in history.get(position, []) if event[0] <= label_seq]
        if before and before[-1][1] != "withdraw":
            wrong.append(
                f"suggestion {suggestion} of {job} gave item {position} as of label {label_seq}, and event "
                f"{before[-1][0]} was a {before[-1][1]} of it"
            )
    return wrong
