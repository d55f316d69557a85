"""The label log: one durable commit per request, all or nothing."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas import labels as wire
from service.context import Context
from service.operations import projects
from service.problems import ConflictError, InvalidError, UnknownError
from store import labels, pools
from store.labels import NewEvent
from store.tables import LabelEvent, Project

_CLASSES_NAMED = 20


def add(context: Context, request: wire.LabelRequest) -> wire.LabelAccepted:
    """Append one event. Raises UnknownError, InvalidError, ConflictError."""
    try:
        return _add(context, request)
    except IntegrityError:
        # Two requests with one event id at the same moment: the first one's event is there now.
        return _add(context, request)


def _add(context: Context, request: wire.LabelRequest) -> wire.LabelAccepted:
    with context.sessions.begin() as session:
        project = projects.find(session, request.project)
        event = _events(session, project, [request])[0]
        recorded = _recorded(session, project, request, event)
        seq = recorded.seq if recorded is not None else labels.append(session, project.id, [event])
    name = None if event.class_index is None else project.classes[event.class_index]
    return wire.LabelAccepted(seq=seq, item=request.item, label=name, skip=event.kind == "skip")


def add_many(context: Context, project_name: str, entries: Sequence[wire.LabelEntry]) -> wire.LabelsAccepted:
    """Append all events in order, or none. An entry that repeats an earlier one word for word counts once.

    Raises UnknownError, InvalidError, ConflictError.
    """
    try:
        with context.sessions.begin() as session:
            project = projects.find(session, project_name)
            events = _distinct(entries, _events(session, project, entries))
            last = labels.append(session, project.id, events)
    except IntegrityError as error:
        raise ConflictError("event_conflict", "an event_id in the upload was used before: nothing was taken") from error
    return wire.LabelsAccepted(first_seq=last - len(events) + 1, last_seq=last, accepted=len(events))


def page(context: Context, project_name: str, after_seq: int, limit: int) -> wire.LabelPage:
    """Events past `after_seq`. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, project_name)
        rows = labels.page(session, project.id, after_seq, limit)
        events = [_event(event, item, project.classes) for event, item in rows]
        # Read after the page: a label that arrives in between must not look as if it were missing from it.
        label_seq = max([project.label_seq, *(event.seq for event in events)])
    return wire.LabelPage(labels=events, label_seq=label_seq, next=events[-1].seq if len(events) == limit else None)


def _event(event: LabelEvent, item: str, classes: list[str]) -> wire.LabelEvent:
    return wire.LabelEvent.model_validate(
        {
            "seq": event.seq,
            "item": item,
            "kind": event.kind,
            "label": None if event.class_index is None else classes[event.class_index],
            "annotator": event.annotator,
            "event_id": event.event_id,
            "created_at": event.created_at,
        }
    )


def _events(session: Session, project: Project, entries: Sequence[wire.LabelEntry]) -> list[NewEvent]:
    known = pools.positions(session, project.id, list({entry.item for entry in entries}))
    index = {name: k for k, name in enumerate(project.classes)}
    events = []
    for place, entry in enumerate(entries, start=1):
        where = f"entry {place}: " if len(entries) > 1 else ""
        if entry.item not in known:
            raise UnknownError("unknown_item", f"{where}project {project.name!r} has no item {entry.item!r}")
        position, held_out = known[entry.item]
        if held_out:
            raise InvalidError(
                "item_held_out", f"{where}item {entry.item!r} is held out: it is predicted, never labeled"
            )
        kind = "skip" if entry.skip else "withdraw" if entry.label is None else "label"
        class_index = None if entry.label is None else _class(entry.label, index, project.classes, where)
        events.append(NewEvent(position, kind, class_index, entry.annotator, entry.event_id))
    return events


def _class(label: str | int, index: dict[str, int], classes: list[str], where: str) -> int:
    found = label if isinstance(label, int) else index.get(label)
    if found is None or found >= len(classes):
        raise unknown_class(label, classes, where)
    return found


def unknown_class(label: str | int, classes: list[str], where: str) -> InvalidError:
    """The problem of a class that the project does not have; `where` begins its detail."""
    named = ", ".join(repr(name) for name in classes[:_CLASSES_NAMED])
    more = f" and {len(classes) - _CLASSES_NAMED} more" if len(classes) > _CLASSES_NAMED else ""
    return InvalidError("unknown_class", f"{where}there is no class {label!r}; the classes are {named}{more}")


def _recorded(session: Session, project: Project, request: wire.LabelEntry, event: NewEvent) -> LabelEvent | None:
    """The event this one repeats, by its id. Raises ConflictError when they say different things."""
    if event.event_id is None:
        return None
    found = labels.by_event_id(session, project.id, event.event_id)
    if found is None:
        return None
    same = (found.item_position, found.kind, found.class_index, found.annotator)
    if same != (event.item_position, event.kind, event.class_index, event.annotator):
        raise ConflictError(
            "event_conflict", f"event_id {event.event_id!r} was used for something else, as seq {found.seq}"
        )
    return found


def _distinct(entries: Sequence[wire.LabelEntry], events: Sequence[NewEvent]) -> list[NewEvent]:
    """Events without word-for-word repeats. Raises InvalidError when an item is given two different labels."""
    first: dict[int, tuple[int, NewEvent]] = {}
    kept = []
    for place, (entry, event) in enumerate(zip(entries, events, strict=True), start=1):
        before = first.setdefault(event.item_position, (place, event))
        if before[0] == place:
            kept.append(event)
        elif before[1] != event:
            raise InvalidError(
                "conflicting_labels",
                f"entries {before[0]} and {place} say different things of item {entry.item!r}: keep one of them",
            )
    return kept
