"""What is told of a project's kernel model and its labels, and nothing rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.tables import Item, Json, LabelEvent, StateInsight

_TABLE = cast(sa.Table, StateInsight.__table__)
ARRIVALS_MAX = 120
# Lengths of the spans that arrivals are counted in, in seconds: a second, ... a quarter of an hour, ... 30 days.
_SPANS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)
_MONTH = 2_592_000


def write(
    session: Session,
    state_id: int,
    *,
    spectrum: Json | None = None,
    scores: Json | None = None,
    predicted: Sequence[int] | None = None,
    condition: float | None = None,
) -> None:
    """Keep what is given of these; the rest stays as it is."""
    known = (("spectrum", spectrum), ("scores", scores), ("predicted", predicted), ("condition", condition))
    given: dict[str, Any] = {name: value for name, value in known if value is not None}
    if not given:
        return
    statement = insert(_TABLE).values(state_id=state_id, **given)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["state_id"], set_={name: statement.excluded[name] for name in given}
        )
    )


def read(session: Session, state_id: int) -> StateInsight | None:
    """What is kept of a kernel state."""
    return session.get(StateInsight, state_id, populate_existing=True)


def copy(session: Session, old: int, new: int) -> None:
    """A state of the same window has the same spectrum."""
    session.execute(
        sa.insert(_TABLE).from_select(
            ["state_id", "spectrum"],
            sa.select(sa.literal(new), StateInsight.spectrum).where(StateInsight.state_id == old),
        )
    )


def labels_by_class(session: Session, project_id: int) -> dict[int, int]:
    """How many items carry each class."""
    rows = session.execute(
        sa.select(Item.label, sa.func.count())
        .where(Item.project_id == project_id, Item.label_seq.is_not(None), Item.label.is_not(None))
        .group_by(Item.label)
    )
    return {row[0]: row[1] for row in rows if row[0] is not None}


@dataclass(frozen=True)
class Span:
    """Labels and skips that came from `at` until the next span begins."""

    at: datetime
    labels: int
    skips: int


def arrivals(session: Session, project_id: int) -> list[Span]:
    """The label log in at most 120 spans of one length, empty ones among them."""
    counted = sa.and_(LabelEvent.project_id == project_id, LabelEvent.kind != "withdraw")
    first, last = session.execute(
        sa.select(sa.func.min(LabelEvent.created_at), sa.func.max(LabelEvent.created_at)).where(counted)
    ).one()
    if first is None:
        return []
    seconds = _span((last - first).total_seconds())
    place = sa.cast(sa.func.floor(sa.func.extract("epoch", LabelEvent.created_at) / seconds), sa.BigInteger)
    rows = session.execute(
        sa.select(
            place,
            sa.func.count().filter(LabelEvent.kind == "label"),
            sa.func.count().filter(LabelEvent.kind == "skip"),
        )
        .where(counted)
        .group_by(place)
    )
    found = {row[0]: (row[1], row[2]) for row in rows}
    start = int(first.timestamp() // seconds)
    return [
        Span(first.fromtimestamp(k * seconds, first.tzinfo), *found.get(k, (0, 0)))
        for k in range(min(start, *found), max(found) + 1)
    ]


def _span(seconds: float) -> int:
    """The shortest length of which so many seconds fill no more than 120, wherever they begin."""
    for length in _SPANS:
        if timedelta(seconds=seconds) / timedelta(seconds=length) <= ARRIVALS_MAX - 2:
            return length
    return _MONTH * (int(seconds / (_MONTH * (ARRIVALS_MAX - 2))) + 1)
