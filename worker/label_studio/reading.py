"""Reconciliation: tasks and annotations as Label Studio has them now, whatever its webhooks said."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from store import label_studio, label_studio_fold, pools
from store.label_studio_fold import Heard
from store.tables import Json, LabelStudioConnection
from studio import config
from studio.api import LabelStudio
from studio.items import item_of
from studio.payloads import Task
from worker import warm
from worker.context import Context
from worker.label_studio.additions import Additions
from worker.progress import Reporter

# Of what changed while a page was read before: read again.
OVERLAP = timedelta(seconds=10)
# Tasks that one comparison asks about one by one, to be sure that they are gone.
CONFIRMED_MAX = 500


@dataclass
class Found:
    """What a reading came to."""

    tasks: int = 0
    added: int = 0
    events: int = 0
    left_out: int = 0
    newest: datetime | None = None
    seen: set[int] = field(default_factory=set)


def read(context: Context, studio: LabelStudio, connection_id: int, reporter: Reporter, *, everything: bool) -> Json:
    """Take in what is new, changed or deleted. Raises LabelStudioError, JobError.

    `everything`: every task is compared, so that what was deleted is found as well; else those that changed since
    the last reading, with what was deleted of them.
    """
    reporter.stage("reading the project")
    connection = _refreshed(context, studio, connection_id)
    if connection is None:
        return {"reason": "disconnected"}
    since = None if everything or connection.synced_until is None else connection.synced_until - OVERLAP
    found = Found(newest=connection.synced_until)
    additions = Additions(context, studio, connection)
    reporter.stage("reading tasks", 1, "tasks")
    first = True
    for total, tasks in studio.task_pages(connection.from_name, since):
        if first:
            reporter.stage("reading tasks", total, "tasks")
            first = False
        missing = _take_page(context, connection_id, tasks, found)
        additions.add([task for task in tasks if task.id in missing], reporter)
        reporter.advance(len(tasks))
    found.added = additions.finish(reporter)
    found.events += additions.events
    found.left_out = additions.left_out
    if since is None:
        _drop_vanished(context, studio, connection_id, found, reporter)
    _ended(context, connection_id, found, compared=since is None)
    _announce(context, connection, found)
    summary: Json = {"tasks": found.tasks, "added": found.added, "events": found.events}
    return summary | ({"problem": additions.problem} if additions.problem else {})


def _refreshed(context: Context, studio: LabelStudio, connection_id: int) -> LabelStudioConnection | None:
    """The connection, with the configuration and the users as they are now. Raises ConfigError."""
    theirs, users = studio.project(), studio.users()
    with context.sessions.begin() as session:
        connection = label_studio.get(session, connection_id, lock=True)
        if connection is None:
            return None
        control = config.control_of(theirs.label_config or "", connection.from_name)
        connection.to_name, connection.data_key = control.to_name, control.data_key
        connection.own_skips = theirs.skip_queue != "IGNORE_SKIPPED"
        # Whoever has a name in the log keeps it.
        connection.users = {str(number): mail for number, mail in users.items()} | connection.users
        label_studio_fold.learn_choices(session, connection, control.choices)
    return connection


def _take_page(context: Context, connection_id: int, tasks: list[Task], found: Found) -> set[int]:
    """Take in one page; returns the tasks that the pool does not have."""
    with context.sessions.begin() as session:
        connection = label_studio.get(session, connection_id, lock=True)
        if connection is None:
            return set()
        missing = _note_tasks(session, connection, tasks)
        found.events += _take(session, connection, tasks)
    found.tasks += len(tasks)
    found.seen |= {task.id for task in tasks}
    changes = [task.updated_at for task in tasks if task.updated_at is not None]
    found.newest = max([*changes, *([found.newest] if found.newest else [])], default=None)
    return missing


def _note_tasks(session: Session, connection: LabelStudioConnection, tasks: list[Task]) -> set[int]:
    """Record the tasks; returns those that the pool does not have."""
    places = pools.positions(session, connection.project_id, [item_of(task.id) for task in tasks])
    at = {task.id: places[item_of(task.id)][0] if item_of(task.id) in places else None for task in tasks}
    known = label_studio.tasks_of(session, connection.id, list(at))
    label_studio.note_tasks(session, connection.id, at)
    late = [task for task, place in at.items() if place is not None and _was_homeless(known.get(task))]
    label_studio_fold.reconsider(session, connection, late)
    return {task for task, place in at.items() if place is None}


def _was_homeless(task: object) -> bool:
    return task is not None and getattr(task, "item_position", None) is None


def _take(session: Session, connection: LabelStudioConnection, tasks: list[Task]) -> int:
    """Fold the tasks' annotations; those that we know and that are not there any more were deleted."""
    heard = [
        Heard(each.id, each.task, each.user, each.kind, each.choice, each.updated_at)
        for task in tasks
        for each in task.annotations or ()
    ]
    # Silence of annotations is not the end of them.
    spoken_of = [task.id for task in tasks if task.annotations is not None]
    standing = label_studio_fold.standing_of(session, connection.id, spoken_of)
    there = {each.annotation_id for each in heard}
    newest = {task.id: task.updated_at for task in tasks}
    gone = [
        row.annotation_id
        for task, rows in standing.items()
        for row in rows
        # One that was heard of after this page was made is not missing from it.
        if row.annotation_id not in there and not _after(row.updated_at, newest.get(task))
    ]
    return label_studio_fold.take(session, connection, heard, gone).events


def _after(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other


def _drop_vanished(context: Context, studio: LabelStudio, connection_id: int, found: Found, reporter: Reporter) -> None:
    """Tasks that no page had are gone, if Label Studio says so of each: pages shift while they are turned."""
    with context.sessions.begin() as session:
        vanished = [task for task in label_studio.standing_tasks(session, connection_id) if task not in found.seen]
    gone = []
    for task in vanished[:CONFIRMED_MAX]:
        reporter.check()
        if not studio.has_task(task):
            gone.append(task)
    if not gone:
        return
    with context.sessions.begin() as session:
        connection = label_studio.get(session, connection_id, lock=True)
        if connection is not None:
            found.events += label_studio_fold.drop_tasks(session, connection, gone).events


def _ended(context: Context, connection_id: int, found: Found, *, compared: bool) -> None:
    with context.sessions.begin() as session:
        connection = label_studio.get(session, connection_id, lock=True)
        if connection is None:
            return
        now = session.scalar(sa.select(sa.func.statement_timestamp()))
        assert now is not None
        connection.synced_at, connection.synced_until = now, found.newest
        connection.sync_due_at = now + context.label_studio_every
        if compared:
            connection.compared_at = now
        if found.events:
            label_studio.want_order(session, connection_id)


def _announce(context: Context, connection: LabelStudioConnection, found: Found) -> None:
    if not found.events:
        return
    try:
        warm.nudge(context.redis, connection.project_id)
    except RedisError:
        # The next suggestion takes the labels in.
        return
