"""The label log: one durable commit per request, all or nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas import labels as wire
from service.context import Context
from service.idempotency import Once
from service.operations import projects
from service.problems import ConflictError, InvalidError, UnknownError, unknown_project
from store import labels, pools
from store.errors import ProjectGoneError
from store.labels import NewEvent
from store.tables import LabelEvent, Project

_CLASSES_NAMED = 20
_TRIES = 3
T = TypeVar("T")


def add(context: Context, request: wire.LabelRequest, once: Once) -> wire.LabelAccepted:
    """Append one event. Raises UnknownError, InvalidError, ConflictError."""
    return without_races(lambda: _add(context, request, once))


def without_races(attempt: Callable[[], T]) -> T:
    """Try again when another request was the first to use an event_id: its event is there then."""
    for _ in range(_TRIES - 1):
        try:
            return attempt()
        except IntegrityError:
            continue
    return attempt()


def _add(context: Context, request: wire.LabelRequest, once: Once) -> wire.LabelAccepted:
    with context.sessions.begin() as session:
        once.begin(session)
        project = projects.find(session, request.project, context.caller)
        event = _events(session, project, [request], context.caller.key_id)[0]
        known = _recorded(session, project, [event])
        seq = known[event] if known else append(session, project, [event])
        return once.keep(session, accepted(project, request, event, seq), 201, project_id=project.id)


def accepted(project: Project, request: wire.LabelRequest, event: NewEvent, seq: int) -> wire.LabelAccepted:
    """What a request is answered once its event is durable."""
    name = None if event.class_index is None else project.classes[event.class_index]
    return wire.LabelAccepted(seq=seq, item=request.item, label=name, skip=event.kind == "skip")


def add_many(
    context: Context, project_name: str, entries: Sequence[wire.LabelEntry], once: Once
) -> wire.LabelsAccepted:
    """Append all events in order, or none. What the log has already, or the upload says twice, counts once.

    Raises UnknownError, InvalidError, ConflictError.
    """
    return without_races(lambda: _add_many(context, project_name, entries, once))


def _add_many(
    context: Context, project_name: str, entries: Sequence[wire.LabelEntry], once: Once
) -> wire.LabelsAccepted:
    with context.sessions.begin() as session:
        once.begin(session)
        project = projects.find(session, project_name, context.caller)
        events = _distinct(entries, _events(session, project, entries, context.caller.key_id))
        known = _recorded(session, project, events)
        new = [event for event in events if event not in known] if known else events
        seqs = list(known.values())
        if new:
            last = append(session, project, new)
            seqs += [last - len(new) + 1, last]
        answer = wire.LabelsAccepted(first_seq=min(seqs), last_seq=max(seqs), accepted=len(events))
        return once.keep(session, answer, 201, project_id=project.id)


def append(session: Session, project: Project, events: Sequence[NewEvent]) -> int:
    """The last sequence number. Raises UnknownError `unknown_project` where it was deleted since it was found."""
    try:
        return labels.append(session, project.id, events)
    except ProjectGoneError as error:
        raise unknown_project(project.name) from error


def page(
    context: Context, project_name: str, *, after_seq: int, limit: int, annotator: str | None, item: str | None
) -> wire.LabelPage:
    """Events past `after_seq`, of one annotator or one item if asked. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, project_name, context.caller)
        position = None if item is None else _position(session, project, item)
        rows = labels.page(
            session, project.id, after_seq=after_seq, limit=limit, annotator=annotator, item_position=position
        )
        events = [event_of(event, name, project.classes) for event, name in rows]
        # Read after the page: a label that arrives in between must not look as if it were missing from it.
        label_seq = max([project.label_seq, *(event.seq for event in events)])
    return wire.LabelPage(labels=events, label_seq=label_seq, next=events[-1].seq if len(events) == limit else None)


def _position(session: Session, project: Project, item: str) -> int:
    found = pools.positions(session, project.id, [item])
    if item not in found:
        raise UnknownError("unknown_item", f"project {project.name!r} has no item {item!r}")
    return found[item][0]


def event_of(event: LabelEvent, item: str, classes: list[str]) -> wire.LabelEvent:
    """The event as the wire has it."""
    return wire.LabelEvent.model_validate(
        {
            "seq": event.seq,
            "item": item,
            "kind": event.kind,
            "label": None if event.class_index is None else classes[event.class_index],
            "own": event.own,
            "annotator": event.annotator,
            "event_id": event.event_id,
            "created_at": event.created_at,
        }
    )


def _events(
    session: Session, project: Project, entries: Sequence[wire.LabelEntry], key_id: int | None
) -> list[NewEvent]:
    known = pools.positions(session, project.id, list({entry.item for entry in entries}))
    index = {name: k for k, name in enumerate(project.classes)}
    return [
        event_from(project, known, index, entry, key_id, f"entry {place}: " if len(entries) > 1 else "")
        for place, entry in enumerate(entries, start=1)
    ]


def event_from(
    project: Project,
    known: Mapping[str, tuple[int, bool]],
    index: Mapping[str, int],
    entry: wire.LabelEntry,
    key_id: int | None,
    where: str = "",
) -> NewEvent:
    """The event that an entry asks for; `known` items by id, `index` of classes by name, `where` begins problems.

    Raises UnknownError, InvalidError.
    """
    if entry.item not in known:
        raise UnknownError("unknown_item", f"{where}project {project.name!r} has no item {entry.item!r}")
    position, held_out = known[entry.item]
    if held_out:
        raise InvalidError("item_held_out", f"{where}item {entry.item!r} is held out: it is predicted, never labeled")
    kind = "skip" if entry.skip else "withdraw" if entry.label is None else "label"
    class_index = None if entry.label is None else _class(entry.label, index, project.classes, where)
    return NewEvent(position, kind, class_index, entry.annotator, entry.event_id, entry.own, key_id)


def _class(label: str | int, index: Mapping[str, int], classes: list[str], where: str) -> int:
    found = label if isinstance(label, int) else index.get(label)
    if found is None or found >= len(classes):
        raise unknown_class(label, classes, where)
    return found


def unknown_class(label: str | int, classes: list[str], where: str) -> InvalidError:
    """The problem of a class that the project does not have; `where` begins its detail."""
    named = ", ".join(repr(name) for name in classes[:_CLASSES_NAMED])
    more = f" and {len(classes) - _CLASSES_NAMED} more" if len(classes) > _CLASSES_NAMED else ""
    return InvalidError("unknown_class", f"{where}there is no class {label!r}; the classes are {named}{more}")


def _recorded(session: Session, project: Project, events: Sequence[NewEvent]) -> dict[NewEvent, int]:
    """The events that the log has already, by their ids, with their numbers.

    Raises ConflictError when an id was used for something else.
    """
    named = [(event.event_id, event) for event in events if event.event_id is not None]
    if not named:
        return {}
    found = labels.recorded(session, project.id, [event_id for event_id, _ in named])
    known = {}
    for event_id, event in named:
        if event_id not in found:
            continue
        before = found[event_id]
        check_repeats(before, event, before.seq)
        known[event] = before.seq
    return known


def check_repeats(before: NewEvent | LabelEvent, event: NewEvent, seq: int) -> None:
    """Raise ConflictError unless an event says what the one before it, under the same id, said."""
    if _said(before) != _said(event):
        raise ConflictError("event_conflict", f"event_id {event.event_id!r} was used for something else, as seq {seq}")


def _said(event: NewEvent | LabelEvent) -> tuple[Any, ...]:
    return event.item_position, event.kind, event.class_index, event.annotator, event.own


def _distinct(entries: Sequence[wire.LabelEntry], events: Sequence[NewEvent]) -> list[NewEvent]:
    """Events without word-for-word repeats.

    Raises InvalidError when one annotator says two different things of an item, ConflictError when two entries
    share an event_id.
    """
    voices: dict[tuple[int, str], tuple[int, NewEvent]] = {}
    by_id: dict[str, int] = {}
    kept: dict[NewEvent, None] = {}
    for place, (entry, event) in enumerate(zip(entries, events, strict=True), start=1):
        before, said = voices.setdefault(event.voice, (place, event))
        if _said(said) != _said(event):
            raise InvalidError(
                "conflicting_labels",
                f"entries {before} and {place} say different things of item {entry.item!r}: keep one of them",
            )
        if event in kept:
            continue
        kept[event] = None
        if event.event_id is not None and (first := by_id.setdefault(event.event_id, place)) != place:
            raise ConflictError(
                "event_conflict",
                f"entries {first} and {place} have one event_id, {event.event_id!r}: nothing was taken",
            )
    return list(kept)
