"""Pools: items with external ids, and their inputs as rows of array artifacts."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from store.artifacts import Artifacts
from store.rows import PROJECT
from store.tables import Item, Json, PoolChunk, Project, Suggestion

# Asked by every label and every suggestion: made once.
_POSITIONS = sa.select(Item.external_id, Item.position, Item.held_out).where(
    Item.project_id == PROJECT, Item.external_id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.Text)))
)
_EXTERNAL_IDS = sa.select(Item.position, Item.external_id).where(
    Item.project_id == PROJECT, Item.position == sa.any_(sa.bindparam("at", type_=sa.ARRAY(sa.Integer)))
)


@dataclass(frozen=True)
class Counts:
    """How many items stand where."""

    items: int
    held_out: int
    labeled: int
    skipped: int
    leased: int


def insert_items(session: Session, project_id: int, start: int, ids: Sequence[str], *, held_out: bool) -> list[str]:
    """Add items at positions start, start + 1, ...; returns ids that are taken already (then add nothing)."""
    wanted = sa.bindparam("ids", list(ids), type_=sa.ARRAY(sa.Text))
    taken = session.scalars(
        sa.select(Item.external_id)
        .where(Item.project_id == project_id, Item.external_id == sa.any_(wanted))
        .order_by(Item.position)
        .limit(10)
    ).all()
    if taken:
        return list(taken)
    rows = (
        sa.func.unnest(wanted)
        .table_valued(sa.column("external_id", sa.Text), with_ordinality="place")
        .render_derived(name="rows")
    )
    session.execute(
        sa.insert(Item).from_select(
            ["project_id", "position", "external_id", "held_out"],
            sa.select(
                sa.literal(project_id),
                sa.literal(start) + sa.cast(rows.c.place, sa.Integer) - 1,
                rows.c.external_id,
                sa.literal(held_out),
            ),
        )
    )
    return []


def positions(session: Session, project_id: int, ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """External id -> (position, held out), for the ids that exist."""
    rows = session.execute(_POSITIONS, {"project": project_id, "ids": list(ids)})
    return {row[0]: (row[1], row[2]) for row in rows}


def external_ids(session: Session, project_id: int, at: Sequence[int]) -> dict[int, str]:
    """Position -> external id."""
    rows = session.execute(_EXTERNAL_IDS, {"project": project_id, "at": list(at)})
    return {row[0]: row[1] for row in rows}


def counts(session: Session, project_id: int) -> Counts:
    """One pass over the project's items, and its open leases."""
    row = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.count().filter(Item.held_out),
            sa.func.count(Item.label),
            sa.func.count().filter(Item.skipped),
        ).where(Item.project_id == project_id)
    ).one()
    leased = session.execute(
        sa.select(sa.func.count(sa.distinct(Suggestion.item_position))).where(open_lease(project_id))
    ).scalar_one()
    return Counts(row[0], row[1], row[2], row[3], leased)


def open_lease(project_id: int) -> sa.ColumnElement[bool]:
    """Condition: a suggestion that somebody still holds."""
    return sa.and_(Suggestion.project_id == project_id, still_held())


def still_held() -> sa.ColumnElement[bool]:
    """Condition: a suggestion that somebody still holds, in whatever project."""
    return sa.and_(
        # The statement's own time: its transaction may have waited for the lease's end.
        Suggestion.lease_until > sa.func.statement_timestamp(),
        Suggestion.resolved_seq.is_(None),
        Suggestion.released_at.is_(None),
    )


def unlabeled_positions(session: Session, project_id: int) -> list[int]:
    """Positions of all items that may be suggested, in pool order."""
    return list(
        session.scalars(
            sa.select(Item.position)
            .where(
                Item.project_id == project_id,
                Item.held_out.is_(False),
                Item.label.is_(None),
                Item.skipped.is_(False),
            )
            .order_by(Item.position)
        )
    )


_STATES: dict[str, sa.ColumnElement[bool]] = {
    "unlabeled": sa.and_(Item.label.is_(None), Item.skipped.is_(False), Item.held_out.is_(False)),
    "labeled": Item.label.is_not(None),
    "skipped": Item.skipped.is_(True),
    "held_out": Item.held_out.is_(True),
}


def page(
    session: Session, project_id: int, *, state: str | None, conditions: Mapping[str, Any], after: int, limit: int
) -> list[tuple[Item, bool]]:
    """Items past position `after` with whether each is leased, in pool order.

    `conditions` as `matching_positions` takes them; raises ValueError as it does.
    """
    leased = sa.exists().where(open_lease(project_id), Suggestion.item_position == Item.position)
    query = (
        sa.select(Item, leased.label("leased"))
        .where(Item.project_id == project_id, Item.position > after, *_meeting(conditions))
        .order_by(Item.position)
        .limit(limit)
    )
    if state == "leased":
        query = query.where(leased)
    elif state is not None:
        query = query.where(_STATES[state])
    return [(row[0], row[1]) for row in session.execute(query)]


def one(session: Session, project_id: int, external_id: str) -> tuple[Item, bool] | None:
    """The item with this id and whether it is leased."""
    leased = sa.exists().where(open_lease(project_id), Suggestion.item_position == Item.position)
    row = session.execute(
        sa.select(Item, leased).where(Item.project_id == project_id, Item.external_id == external_id)
    ).first()
    return None if row is None else (row[0], row[1])


def merge_attributes(session: Session, project_id: int, changes: Mapping[str, Json]) -> dict[str, int]:
    """Merge values by key into the attributes of items, by external id; a null removes its key. One statement.

    Returns external id -> how many keys the item has now, for the items that exist.
    """
    changed = sa.func.jsonb_each(sa.bindparam("changes", dict(changes), type_=JSONB)).table_valued(
        sa.column("key", sa.Text), sa.column("value", JSONB), name="changed"
    )
    keys = sa.func.jsonb_object_keys(Item.attributes).table_valued("key", name="keys")
    rows = session.execute(
        sa.update(Item)
        .where(Item.project_id == project_id, Item.external_id == changed.c.key)
        # No value is an object, so only the item's own keys can be null.
        .values(attributes=sa.func.jsonb_strip_nulls(Item.attributes.concat(changed.c.value)))
        .returning(Item.external_id, sa.select(sa.func.count()).select_from(keys).correlate(Item).scalar_subquery())
        .execution_options(synchronize_session=False)
    )
    return {row[0]: row[1] for row in rows}


def matching_positions(session: Session, project_id: int, conditions: Mapping[str, Any]) -> set[int]:
    """Positions of all items whose attributes meet every condition; without conditions, of all items.

    By key, a condition is a value (equality), a list of values (any of them), `{"min": number, "max": number}`
    (inclusive, one may be absent) or `{"exists": bool}`. An item without the key meets only `{"exists": False}`;
    numbers equal and are compared with numbers only, as decimals. Raises ValueError for any other object.
    """
    return set(session.scalars(sa.select(Item.position).where(Item.project_id == project_id, *_meeting(conditions))))


def _meeting(conditions: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [_meets(key, condition) for key, condition in conditions.items()]


def _meets(key: str, condition: Any) -> sa.ColumnElement[bool]:
    # Compared as jsonb throughout: no cast that an item's value could make fail. Without the key it is SQL's NULL.
    value = Item.attributes[key]
    if not isinstance(condition, dict):
        choices = condition if isinstance(condition, list) else [condition]
        return value == sa.any_(sa.literal(choices, sa.ARRAY(JSONB)))
    if condition.keys() == {"exists"}:
        has_key: sa.ColumnElement[bool] = Item.attributes.has_key(key)
        return has_key if condition["exists"] else sa.not_(has_key)
    if not condition or condition.keys() - {"min", "max"}:
        raise ValueError(f"the condition on {key!r} has {sorted(condition)}: min or max or both, or exists alone")
    bounds = [sa.func.jsonb_typeof(value) == "number"]
    if "min" in condition:
        bounds.append(value >= sa.literal(condition["min"], JSONB))
    if "max" in condition:
        bounds.append(value <= sa.literal(condition["max"], JSONB))
    return sa.and_(*bounds)


def lock(session: Session, name: str, *, alone: bool = False) -> Project | None:
    """The project, its row locked until commit; `alone`: also against rows that come to refer to it."""
    return session.scalars(sa.select(Project).where(Project.name == name).with_for_update(key_share=not alone)).first()


@dataclass(frozen=True)
class Chunk:
    """Where a run of items has its inputs."""

    start: int
    count: int
    artifact: str
    contents: str | None = None  # texts or pictures of the same items


def chunks(session: Session, project_id: int) -> list[Chunk]:
    """All uploads of a pool, in order."""
    rows = session.scalars(sa.select(PoolChunk).where(PoolChunk.project_id == project_id).order_by(PoolChunk.start))
    return [Chunk(row.start, row.count, row.artifact, row.contents) for row in rows]


def columns(session: Session, project_id: int) -> list[str] | None:
    """What the numbers of a pool's items are called; None where no upload has said so."""
    return session.scalars(
        sa.select(PoolChunk.columns)
        .where(PoolChunk.project_id == project_id, PoolChunk.columns.is_not(None))
        .order_by(PoolChunk.version)
        .limit(1)
    ).first()


def chunk_of(parts: Sequence[Chunk], position: int) -> Chunk:
    """The upload, of all in order, that brought the item at this position."""
    return parts[bisect.bisect_right(parts, position, key=lambda part: part.start) - 1]


def read_inputs(artifacts: Artifacts, parts: Sequence[Chunk], at: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The inputs of the items at these positions, in that order: (len(at), ...).

    Raises ArtifactMissingError.
    """
    starts = np.array([part.start for part in parts], dtype=np.int64)
    which = np.searchsorted(starts, at, side="right") - 1
    gathered: npt.NDArray[Any] | None = None
    for index in np.unique(which):
        array = artifacts.array(parts[index].artifact)
        rows = np.flatnonzero(which == index)
        if gathered is None:
            # Uploads of one pool may differ in precision: keep the finest.
            dtype = np.result_type(*(artifacts.array(parts[k].artifact).dtype for k in np.unique(which)))
            gathered = np.empty((len(at), *array.shape[1:]), dtype=dtype)
        gathered[rows] = array[at[rows] - starts[index]]
    if gathered is None:
        raise ValueError("no item asked for")
    return gathered
