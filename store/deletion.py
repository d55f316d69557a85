"""Deleting a project: it is gone at once, and its rows and artifacts go afterwards, batch by batch.

What is still to be removed is what is still there: whoever is interrupted leaves the rest to the next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import jobs, references
from store.alive import freed
from store.artifacts import Artifacts
from store.database import Sessions, relax_durability
from store.tables import Base, Checkpoint, LabelStudioConnection, Project

BATCH = 2000
# Rows that name artifacts, each of which is looked for in all tables and removed by itself.
FILES_BATCH = 20
_SPACE, _KEY = 0x9241E, 1
_PROJECTS = Base.metadata.tables["projects"]


@dataclass(frozen=True)
class Marked:
    """What a project had when it was deleted."""

    items: int
    label_seq: int
    checkpoints: int
    connections: list[str]  # prefixes
    ended: list[str]  # jobs that had not begun: signal their ends after the commit
    stopping: int  # jobs that run, and stop at their next step


def mark(session: Session, project: Project) -> Marked:
    """Delete a project that this transaction has locked, as far as anybody can tell."""
    count = sa.select(sa.func.count()).where(Checkpoint.project_id == project.id)
    prefixes = sa.select(LabelStudioConnection.prefix).where(LabelStudioConnection.project_id == project.id)
    connections = list(session.scalars(prefixes))
    ended, stopping = jobs.cancel_all(session, project.id)
    marked = Marked(
        items=project.item_count,
        label_seq=project.label_seq,
        checkpoints=session.scalar(count) or 0,
        connections=connections,
        ended=ended,
        stopping=stopping,
    )
    project.name, project.deleted_at, project.active_state_id = freed(project), sa.func.now(), None
    session.flush()
    return marked


def pending(session: Session) -> list[int]:
    """Deleted projects that are still there, the first to be deleted first."""
    gone = sa.select(Project.id).where(Project.deleted_at.is_not(None)).order_by(Project.deleted_at, Project.id)
    return list(session.scalars(gone))


def gone_among(session: Session, project_ids: list[int]) -> set[int]:
    """Those of these projects that are deleted, or not even there any more."""
    there = sa.select(Project.id).where(Project.id.in_(project_ids), Project.deleted_at.is_(None))
    return set(project_ids).difference(session.scalars(there))


def remove_batch(sessions: Sessions, artifacts: Artifacts, project_id: int) -> int | None:
    """Remove some rows of a deleted project without open jobs, children first and its own row last.

    Returns how many; 0 when nothing is left, None while another process is at it or a backup is being written.
    Artifacts go before the rows that name them, unless another project has them too.
    """
    with sessions.begin() as session:
        if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_SPACE, _KEY))):
            return None
        # What is lost with the server is done again.
        relax_durability(session)
        for table in reversed(Base.metadata.sorted_tables):
            rows = _of(table, project_id)
            if rows is None:
                continue
            columns = references.named(table)
            removed = (
                _remove_named(session, (sessions, artifacts), table, rows, columns)
                if columns
                else _remove(session, table, rows)
            )
            if removed:
                return removed
        return 0


def _of(table: sa.Table, project_id: int) -> sa.ColumnElement[bool] | None:
    """Condition: the row belongs to the project, by itself or through what it refers to; None for other tables."""
    if table is _PROJECTS:
        return sa.and_(table.c.id == project_id, table.c.deleted_at.is_not(None))
    parents = {key.column.table: key for key in table.foreign_keys}
    if _PROJECTS in parents:
        return parents[_PROJECTS].parent == project_id
    for parent, key in parents.items():
        if (rows := _of(parent, project_id)) is not None:
            return key.parent.in_(sa.select(key.column).where(rows))
    return None


def _remove(session: Session, table: sa.Table, rows: sa.ColumnElement[bool]) -> int:
    # Where rows lie is all that it takes to find them again, and every table has it.
    place: sa.ColumnElement[Any] = sa.literal_column(f"{table.name}.ctid")
    some = sa.select(place).select_from(table).where(rows).limit(BATCH)
    done: Any = session.execute(sa.delete(table).where(place == sa.any_(sa.func.array(some.scalar_subquery())), rows))
    return int(done.rowcount)


def _remove_named(
    session: Session,
    storage: tuple[Sessions, Artifacts],
    table: sa.Table,
    rows: sa.ColumnElement[bool],
    columns: list[sa.Column[Any]],
) -> int:
    key = list(table.primary_key.columns)
    found = session.execute(sa.select(*key, *columns).where(rows).limit(FILES_BATCH)).all()
    if not found:
        return 0
    for name in sorted(references.names_in([tuple(row[len(key) :]) for row in found])):
        references.drop(*storage, name)
    which = sa.tuple_(*key).in_([tuple(row[: len(key)]) for row in found])
    done: Any = session.execute(sa.delete(table).where(which, rows))
    return int(done.rowcount)


@contextmanager
def put_off(sessions: Sessions) -> Iterator[None]:
    """Nothing of deleted projects is removed while the block runs: what the database names can be read."""
    engine: sa.Engine = sessions.kw["bind"]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.select(sa.func.pg_advisory_lock_shared(_SPACE, _KEY)))
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock_shared(_SPACE, _KEY)))
