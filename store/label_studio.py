"""Connections to Label Studio and the tasks that they have: made, found, and what is due for them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.alive import alive
from store.tables import (
    Item,
    Job,
    LabelStudioAnnotation,
    LabelStudioConnection,
    LabelStudioTask,
    Project,
)

KIND = "label_studio"
# From the first label to a new order: what comes meanwhile goes into it as well.
DEBOUNCE = timedelta(seconds=2)
_SPACE = 0x1A5D10  # of the advisory locks
_NOW = sa.func.statement_timestamp()
# With its project a connection ends.
_ALIVE = alive(LabelStudioConnection.project_id)
_TASKS = cast(sa.Table, LabelStudioTask.__table__)
_WANTED = sa.bindparam("wanted", type_=sa.ARRAY(sa.BigInteger))


def by_digest(session: Session, digest: str) -> LabelStudioConnection | None:
    """The connection whose token has this digest."""
    return session.scalars(
        sa.select(LabelStudioConnection).where(LabelStudioConnection.digest == digest, _ALIVE)
    ).first()


def by_prefix(session: Session, prefix: str) -> LabelStudioConnection | None:
    """The connection that people call so."""
    return session.scalars(
        sa.select(LabelStudioConnection).where(LabelStudioConnection.prefix == prefix, _ALIVE)
    ).first()


def get(session: Session, connection_id: int, *, lock: bool = False) -> LabelStudioConnection | None:
    """The connection as it is now; locked, what is heard of it is taken in one after the other."""
    query = sa.select(LabelStudioConnection).where(LabelStudioConnection.id == connection_id, _ALIVE)
    if lock:
        query = query.with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).first()


def page(session: Session, within: Collection[str] | None) -> list[tuple[LabelStudioConnection, str]]:
    """Every connection with its project's name, oldest first; `within`: of the projects with these names."""
    query = (
        sa.select(LabelStudioConnection, Project.name)
        .join(Project, Project.id == LabelStudioConnection.project_id)
        .where(Project.deleted_at.is_(None))
        .order_by(LabelStudioConnection.id)
    )
    if within is not None:
        query = query.where(Project.name.in_(within))
    return [(row[0], row[1]) for row in session.execute(query)]


def all_locked(session: Session) -> Sequence[LabelStudioConnection]:
    """Every connection, those of projects that are being deleted too, locked."""
    return session.scalars(sa.select(LabelStudioConnection).order_by(LabelStudioConnection.id).with_for_update()).all()


def connected(session: Session, url: str, label_studio_project: int) -> tuple[LabelStudioConnection, str] | None:
    """The connection of a project of Label Studio, with our project's name; until we commit, nobody adds another."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_SPACE, sa.func.hashtext(f"{label_studio_project} {url}"))))
    query = (
        sa.select(LabelStudioConnection, Project.name)
        .join(Project, Project.id == LabelStudioConnection.project_id)
        .where(
            LabelStudioConnection.url == url,
            LabelStudioConnection.label_studio_project == label_studio_project,
            Project.deleted_at.is_(None),
        )
    )
    row = session.execute(query.order_by(LabelStudioConnection.id).limit(1)).first()
    return None if row is None else (row[0], row[1])


def remove(session: Session, connection: LabelStudioConnection) -> None:
    """Forget a connection with its tasks and annotations; the labels stay in the log."""
    session.execute(
        sa.update(Job)
        .where(open_jobs(connection.id), Job.status == "running")
        .values(cancel_requested=True)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sa.update(Job)
        .where(open_jobs(connection.id), Job.status == "queued")
        .values(status="cancelled", stage="cancelled", cancel_requested=True, finished_at=sa.func.now())
        .execution_options(synchronize_session=False)
    )
    session.delete(connection)


def open_jobs(connection_id: int) -> sa.ColumnElement[bool]:
    """Condition: an unfinished job of a connection."""
    of_it = Job.arguments["connection"].as_integer() == connection_id
    return sa.and_(Job.kind == KIND, Job.status.in_(("queued", "running")), of_it)


def open_job(session: Session, connection_id: int) -> Job | None:
    """The connection's unfinished job, if there is one."""
    return session.scalars(sa.select(Job).where(open_jobs(connection_id)).order_by(Job.created_at).limit(1)).first()


def want_order(session: Session, connection_id: int) -> None:
    """Have the order made anew soon: once for all labels that come in quick succession."""
    session.execute(
        sa.update(LabelStudioConnection)
        .where(LabelStudioConnection.id == connection_id)
        .values(order_due_at=sa.func.coalesce(LabelStudioConnection.order_due_at, _NOW + DEBOUNCE))
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Due:
    """What a connection's next job should do."""

    connection: LabelStudioConnection
    sync: bool
    order: bool


def due(session: Session) -> list[Due]:
    """Connections that something is due for now, locked; those that another worker looks at are left to it."""
    waited = sa.or_(LabelStudioConnection.order_not_before.is_(None), LabelStudioConnection.order_not_before <= _NOW)
    fresh_state = sa.and_(
        Project.active_state_id.is_not(None),
        Project.active_state_id.is_distinct_from(LabelStudioConnection.order_state_id),
    )
    order = sa.and_(waited, sa.or_(LabelStudioConnection.order_due_at <= _NOW, fresh_state))
    sync = LabelStudioConnection.sync_due_at <= _NOW
    rows = session.execute(
        sa.select(LabelStudioConnection, sa.func.coalesce(sync, False), sa.func.coalesce(order, False))
        .join(Project, Project.id == LabelStudioConnection.project_id)
        .where(sa.or_(sync, order), Project.deleted_at.is_(None))
        .order_by(LabelStudioConnection.id)
        .limit(20)
        .with_for_update(of=LabelStudioConnection, skip_locked=True)
    )
    return [Due(row[0], row[1], row[2]) for row in rows]


def tasks_of(session: Session, connection_id: int, task_ids: Sequence[int]) -> dict[int, LabelStudioTask]:
    """The tasks among these that are known, by id."""
    query = sa.select(LabelStudioTask).where(
        LabelStudioTask.connection_id == connection_id, LabelStudioTask.task_id == sa.any_(_WANTED)
    )
    found = session.scalars(query.execution_options(populate_existing=True), {"wanted": list(task_ids)})
    return {task.task_id: task for task in found}


def note_tasks(session: Session, connection_id: int, positions: Mapping[int, int | None]) -> None:
    """Record tasks with the items that they are, task -> position; one that had an item keeps it."""
    if not positions:
        return
    fresh = insert(_TASKS)
    session.execute(
        fresh.on_conflict_do_update(
            index_elements=["connection_id", "task_id"],
            set_={
                "item_position": sa.func.coalesce(_TASKS.c.item_position, fresh.excluded.item_position),
                "gone": False,
            },
        ),
        [
            {"connection_id": connection_id, "task_id": task, "item_position": position}
            for task, position in sorted(positions.items())
        ],
    )


def standing_tasks(session: Session, connection_id: int) -> list[int]:
    """Every task that was not deleted, as far as we know."""
    query = sa.select(LabelStudioTask.task_id).where(
        LabelStudioTask.connection_id == connection_id, LabelStudioTask.gone.is_(False)
    )
    return list(session.scalars(query.order_by(LabelStudioTask.task_id)))


def counts(session: Session, connection_id: int) -> tuple[int, int, int]:
    """(tasks, those of them that are items of the pool, annotations that stand)."""
    tasks = sa.select(sa.func.count(), sa.func.count(LabelStudioTask.item_position)).where(
        LabelStudioTask.connection_id == connection_id, LabelStudioTask.gone.is_(False)
    )
    row = session.execute(tasks).one()
    said = sa.select(sa.func.count()).where(
        LabelStudioAnnotation.connection_id == connection_id, LabelStudioAnnotation.deleted.is_(False)
    )
    return row[0], row[1], session.execute(said).scalar_one()


def tasks_at(session: Session, connection_id: int, positions: Collection[int]) -> dict[int, int]:
    """Item position -> task, for items that are tasks of this connection."""
    wanted = sa.bindparam("wanted", type_=sa.ARRAY(sa.Integer))
    rows = session.execute(
        sa.select(LabelStudioTask.item_position, LabelStudioTask.task_id).where(
            LabelStudioTask.connection_id == connection_id,
            LabelStudioTask.gone.is_(False),
            LabelStudioTask.item_position == sa.any_(wanted),
        ),
        {"wanted": list(positions)},
    )
    return {row[0]: row[1] for row in rows if row[0] is not None}


def items_of(session: Session, connection_id: int, task_ids: Sequence[int]) -> dict[int, tuple[str, float | None]]:
    """Task -> (external id of its item, its place in the order), for tasks that are items of the pool."""
    rows = session.execute(
        sa.select(LabelStudioTask.task_id, Item.external_id, LabelStudioTask.score)
        .join(LabelStudioConnection, LabelStudioConnection.id == LabelStudioTask.connection_id)
        .join(
            Item,
            sa.and_(
                Item.project_id == LabelStudioConnection.project_id, Item.position == LabelStudioTask.item_position
            ),
        )
        .where(LabelStudioTask.connection_id == connection_id, LabelStudioTask.task_id == sa.any_(_WANTED)),
        {"wanted": list(task_ids)},
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def set_scores(session: Session, connection_id: int, scores: Mapping[int, float]) -> None:
    """Replace the order in force, task -> score; tasks that are not in it have none."""
    session.execute(
        sa.update(_TASKS).where(_TASKS.c.connection_id == connection_id, _TASKS.c.score.is_not(None)).values(score=None)
    )
    if not scores:
        return
    given = (
        sa.func.unnest(
            sa.bindparam("tasks", list(scores), type_=sa.ARRAY(sa.BigInteger)),
            sa.bindparam("scores", list(scores.values()), type_=sa.ARRAY(sa.Float(53))),
        )
        .table_valued(sa.column("task", sa.BigInteger), sa.column("score", sa.Float(53)))
        .render_derived(name="given")
    )
    session.execute(
        sa.update(_TASKS)
        .where(_TASKS.c.connection_id == connection_id, _TASKS.c.task_id == given.c.task)
        .values(score=given.c.score)
    )
