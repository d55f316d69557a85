"""What is heard of annotations, folded into the label log: in any order, any number of times, with the same end.

Two steps. What was heard goes into the table of annotations, where an older word never overrules a newer one. Then
each voice that was touched, one annotator on one task, is looked at as a whole: its newest annotation that stands is
what the annotator says, and where the log has it otherwise an event is appended. So a deleted annotation gives way to
the one before it, and an annotation of a task that comes into the pool later counts from then on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import classes, label_studio, labels
from store.labels import NewEvent
from store.tables import Item, LabelStudioAnnotation, LabelStudioConnection, Opinion, Project

# Who says of an item that its task is gone.
DELETED_BY = "label-studio"
CLASSES_MAX = 10_000
_STAMP = "%Y%m%dT%H%M%S.%f"
_WANTED = sa.bindparam("wanted", type_=sa.ARRAY(sa.BigInteger))


@dataclass(frozen=True)
class Heard:
    """An annotation as somebody told us of it."""

    annotation_id: int
    task_id: int
    user: int | None
    said: str  # label | skip | none
    choice: str | None
    updated_at: datetime


class Voice(NamedTuple):
    """One annotator on one task."""

    task_id: int
    annotator: str


@dataclass(frozen=True)
class Taken:
    """What came of it."""

    events: int
    unknown_tasks: tuple[int, ...] = ()


def take(
    session: Session,
    connection: LabelStudioConnection,
    heard: Sequence[Heard] = (),
    deleted: Sequence[int] = (),
) -> Taken:
    """Take in annotations and the ids of deleted ones. The caller holds the connection's row lock."""
    causes: dict[Voice, str] = {}
    known = _annotations(session, connection.id, [*(one.annotation_id for one in heard), *deleted])
    for one in heard:
        _note(session, connection, known, one, causes)
    for annotation_id in deleted:
        _note_deleted(session, connection, known, annotation_id, causes)
    session.flush()
    return _speak(session, connection, causes)


def reconsider(session: Session, connection: LabelStudioConnection, task_ids: Sequence[int]) -> Taken:
    """Look again at everything that was said of tasks: they have come into the pool, or choices have become classes."""
    session.flush()
    rows = session.scalars(
        sa.select(LabelStudioAnnotation).where(
            LabelStudioAnnotation.connection_id == connection.id,
            LabelStudioAnnotation.deleted.is_(False),
            LabelStudioAnnotation.task_id == sa.any_(_WANTED),
        ),
        {"wanted": list(task_ids)},
    )
    causes = {Voice(row.task_id or 0, row.annotator or ""): _cause(row) for row in rows}
    return _speak(session, connection, causes)


def drop_tasks(session: Session, connection: LabelStudioConnection, task_ids: Sequence[int]) -> Taken:
    """Tasks were deleted in Label Studio: so were their annotations, and nobody is to be asked about them again."""
    standing = session.scalars(
        sa.select(LabelStudioAnnotation.annotation_id).where(
            LabelStudioAnnotation.connection_id == connection.id,
            LabelStudioAnnotation.deleted.is_(False),
            LabelStudioAnnotation.task_id == sa.any_(_WANTED),
        ),
        {"wanted": list(task_ids)},
    ).all()
    taken = take(session, connection, deleted=standing)
    tasks = label_studio.tasks_of(session, connection.id, task_ids)
    places = [task.item_position for task in tasks.values() if task.item_position is not None]
    open_places = _open(session, connection.project_id, places)
    events = []
    for task in tasks.values():
        if not task.gone and task.item_position in open_places:
            event_id = f"ls-{connection.prefix}-task-{task.task_id}-deleted"
            events.append(NewEvent(task.item_position, "skip", None, DELETED_BY, event_id))
        task.gone = True
    session.flush()
    return Taken(taken.events + _append(session, connection.project_id, events), taken.unknown_tasks)


def learn_choices(session: Session, connection: LabelStudioConnection, choices: Sequence[str]) -> bool:
    """Take over the configuration's choices; new ones become classes, and what was said of them counts from now on.

    Returns whether something is new. The caller holds the connection's row lock.
    """
    fresh = [choice for choice in choices if choice not in connection.choices]
    connection.choices = list(choices)
    if not fresh:
        return False
    project = session.scalars(
        sa.select(Project)
        .where(Project.id == connection.project_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    missing = [choice for choice in fresh if choice not in project.classes]
    if missing and len(project.classes) + len(missing) <= CLASSES_MAX:
        classes.append(session, project.id, missing)
    tasks = session.scalars(
        sa.select(LabelStudioAnnotation.task_id).where(
            LabelStudioAnnotation.connection_id == connection.id, LabelStudioAnnotation.choice.in_(fresh)
        )
    )
    reconsider(session, connection, [task for task in tasks if task is not None])
    return True


def annotator_of(connection: LabelStudioConnection, user: int | None) -> str:
    """Whom the log names for a user. What a user was called once they are called for good: it is one voice."""
    if user is None:
        return f"label-studio-{connection.prefix}"
    if str(user) not in connection.users:
        connection.users = {**connection.users, str(user): f"label-studio-user-{user}"}
    return str(connection.users[str(user)])


def standing_of(
    session: Session, connection_id: int, task_ids: Sequence[int]
) -> dict[int, list[LabelStudioAnnotation]]:
    """Task -> its annotations that stand, as far as we know."""
    rows = session.scalars(
        sa.select(LabelStudioAnnotation).where(
            LabelStudioAnnotation.connection_id == connection_id,
            LabelStudioAnnotation.deleted.is_(False),
            LabelStudioAnnotation.task_id == sa.any_(_WANTED),
        ),
        {"wanted": list(task_ids)},
    )
    found: dict[int, list[LabelStudioAnnotation]] = {}
    for row in rows:
        found.setdefault(row.task_id or 0, []).append(row)
    return found


def _annotations(session: Session, connection_id: int, ids: Sequence[int]) -> dict[int, LabelStudioAnnotation]:
    rows = session.scalars(
        sa.select(LabelStudioAnnotation)
        .where(
            LabelStudioAnnotation.connection_id == connection_id,
            LabelStudioAnnotation.annotation_id == sa.any_(_WANTED),
        )
        .execution_options(populate_existing=True),
        {"wanted": list(ids)},
    )
    return {row.annotation_id: row for row in rows}


def _note(
    session: Session,
    connection: LabelStudioConnection,
    known: dict[int, LabelStudioAnnotation],
    heard: Heard,
    causes: dict[Voice, str],
) -> None:
    row = known.get(heard.annotation_id)
    if row is None:
        row = LabelStudioAnnotation(connection_id=connection.id, annotation_id=heard.annotation_id, deleted=False)
        session.add(row)
        known[heard.annotation_id] = row
    elif row.deleted or (row.updated_at is not None and row.updated_at >= heard.updated_at):
        return  # A repetition, or late.
    before = None if row.task_id is None else Voice(row.task_id, row.annotator or "")
    row.task_id, row.annotator = heard.task_id, annotator_of(connection, heard.user)
    row.said, row.choice, row.updated_at = heard.said, heard.choice, heard.updated_at
    if before is not None:
        causes[before] = _cause(row)
    causes[Voice(heard.task_id, row.annotator)] = _cause(row)


def _note_deleted(
    session: Session,
    connection: LabelStudioConnection,
    known: dict[int, LabelStudioAnnotation],
    annotation_id: int,
    causes: dict[Voice, str],
) -> None:
    row = known.get(annotation_id)
    if row is None:
        # Kept all the same: the word of its making may come after that of its end.
        row = LabelStudioAnnotation(connection_id=connection.id, annotation_id=annotation_id, said="none", deleted=True)
        session.add(row)
        known[annotation_id] = row
    elif not row.deleted:
        row.deleted = True
        if row.task_id is not None:
            causes[Voice(row.task_id, row.annotator or "")] = f"{annotation_id}-deleted"


def _cause(row: LabelStudioAnnotation) -> str:
    return f"{row.annotation_id}-{row.updated_at:{_STAMP}}" if row.updated_at else str(row.annotation_id)


def _speak(session: Session, connection: LabelStudioConnection, causes: dict[Voice, str]) -> Taken:
    """Append what the log has otherwise."""
    if not causes:
        return Taken(0)
    task_ids = sorted({voice.task_id for voice in causes})
    tasks = label_studio.tasks_of(session, connection.id, task_ids)
    homeless = {number for number in task_ids if number not in tasks or tasks[number].item_position is None}
    unknown = tuple(
        number for number in task_ids if number in homeless and not (number in tasks and tasks[number].gone)
    )
    # What is told late of a task that was deleted counts no more.
    places = {
        number: task.item_position for number, task in tasks.items() if task.item_position is not None and not task.gone
    }
    standing = standing_of(session, connection.id, list(places))
    logged = _logged(session, connection.project_id, places.values())
    project = session.scalars(
        sa.select(Project).where(Project.id == connection.project_id).execution_options(populate_existing=True)
    ).one()
    index = {name: k for k, name in enumerate(project.classes)}
    open_places = _open(session, connection.project_id, places.values())
    events = []
    for voice, cause in causes.items():
        place = places.get(voice.task_id)
        if place is None or place not in open_places:
            continue
        said = _said(connection, index, standing.get(voice.task_id, ()), voice.annotator)
        if said != logged.get((place, voice.annotator), _NOTHING):
            events.append(
                NewEvent(place, said[0], said[1], voice.annotator, f"ls-{connection.prefix}-{cause}", said[2])
            )
    return Taken(_append(session, connection.project_id, events), unknown)


_Statement = tuple[str, int | None, bool]
_NOTHING: _Statement = ("withdraw", None, False)


def _said(
    connection: LabelStudioConnection, index: dict[str, int], standing: Iterable[LabelStudioAnnotation], annotator: str
) -> _Statement:
    """What the annotator's newest annotation says."""
    mine = [row for row in standing if row.annotator == annotator and row.updated_at is not None]
    if not mine:
        return _NOTHING
    newest = max(mine, key=lambda row: (row.updated_at, row.annotation_id))
    if newest.said == "skip":
        return "skip", None, connection.own_skips
    if newest.said == "label" and newest.choice in index:
        return "label", index[newest.choice], False
    return _NOTHING


def _logged(session: Session, project_id: int, positions: Iterable[int]) -> dict[tuple[int, str], _Statement]:
    """(position, annotator) -> what the log has of it."""
    rows = session.execute(
        sa.select(Opinion.item_position, Opinion.annotator, Opinion.class_index, Opinion.skipped, Opinion.own).where(
            Opinion.project_id == project_id, Opinion.item_position == sa.any_(_WANTED)
        ),
        {"wanted": list(positions)},
    )
    return {(row[0], row[1]): ("skip" if row[3] else "label", row[2], row[4]) for row in rows}


def _open(session: Session, project_id: int, positions: Iterable[int]) -> set[int]:
    """Positions of items that may be labeled: those that are not held out."""
    query = sa.select(Item.position).where(
        Item.project_id == project_id, Item.held_out.is_(False), Item.position == sa.any_(_WANTED)
    )
    return set(session.scalars(query, {"wanted": list(positions)}))


def _append(session: Session, project_id: int, events: list[NewEvent]) -> int:
    if not events:
        return 0
    logged = labels.recorded(session, project_id, [event.event_id or "" for event in events])
    label_seq = session.scalar(sa.select(Project.label_seq).where(Project.id == project_id))
    used: set[str | None] = set(logged)
    distinct: list[NewEvent] = []
    for event in events:
        # One word can change two voices, and what it changed once it may, after a detour, change again.
        name = event.event_id if event.event_id not in used else f"{event.event_id}-{label_seq}-{len(distinct)}"
        used.add(name)
        distinct.append(event._replace(event_id=name))
    labels.append(session, project_id, distinct)
    return len(distinct)
