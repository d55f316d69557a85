"""What Label Studio sends, read tolerantly: fields that we do not know are let be, entries without sense left out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

ID_MAX = 2**63 - 1
NAME_MAX = 200
# As classes and annotators are named everywhere: no control characters, and no halves of characters.
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Of other years the database, or its driver, may be unable to tell.
_YEARS = range(1970, 3000)
Said = Literal["label", "skip", "none"]


@dataclass(frozen=True)
class Annotation:
    """What one person says of one task; `none`: nothing that makes a class, such as no or several choices."""

    id: int
    task: int
    user: int | None
    kind: Said
    choice: str | None
    updated_at: datetime


@dataclass(frozen=True)
class Task:
    """One task with its annotations; None where nothing was said of them."""

    id: int
    data: Mapping[str, Any]
    updated_at: datetime | None = None
    annotations: tuple[Annotation, ...] | None = None


@dataclass(frozen=True)
class Project:
    """What we look at of a project."""

    id: int
    label_config: str | None
    model_version: str | None
    skip_queue: str | None
    sampling: str | None = None
    title: str = ""


@dataclass(frozen=True)
class Event:
    """A webhook's message."""

    action: str
    project: Project | None = None
    annotations: tuple[Annotation, ...] = ()
    deleted_annotations: tuple[int, ...] = ()
    tasks: tuple[Task, ...] = ()
    deleted_tasks: tuple[int, ...] = field(default=())


def event_of(body: Any, control: str) -> Event:
    """The message in a webhook's body; annotations are read for the control of this name."""
    content = _mapping(body)
    action = content.get("action")
    action = action if isinstance(action, str) else ""
    single = [content["annotation"]] if "annotation" in content else []
    annotations = [*single, *_list(content.get("annotations"))]
    tasks = [*_list(content.get("tasks")), *([content["task"]] if isinstance(content.get("task"), Mapping) else [])]
    project = project_of(content.get("project"))
    if action.endswith("_DELETED"):
        gone = tuple(_ids(annotations if action.startswith("ANNOTATION") else tasks))
        if action.startswith("ANNOTATION"):
            return Event(action, project, deleted_annotations=gone)
        return Event(action, project, deleted_tasks=gone if action.startswith("TASK") else ())
    read = (annotation_of(each, control) for each in annotations)
    return Event(
        action,
        project,
        annotations=tuple(each for each in read if each is not None),
        tasks=tuple(each for each in (task_of(task, control) for task in tasks) if each is not None),
    )


def annotation_of(content: Any, control: str, task: int | None = None) -> Annotation | None:
    """An annotation; None without the ids that make it one. `task`: of one that is nested in its task."""
    found = _mapping(content)
    number, of = _id(found.get("id")), _id(found.get("task")) or task
    updated_at = moment(found.get("updated_at") or found.get("created_at"))
    if number is None or of is None or updated_at is None:
        return None
    kind: Said = "skip"
    choice = None
    if not found.get("was_cancelled"):
        choice = _choice(found.get("result"), control)
        kind = "none" if choice is None else "label"
    return Annotation(number, of, _user(found.get("completed_by")), kind, choice, updated_at)


def task_of(content: Any, control: str) -> Task | None:
    """A task; None without an id."""
    found = _mapping(content)
    number = _id(found.get("id"))
    if number is None:
        return None
    task = Task(number, _mapping(found.get("data")), moment(found.get("updated_at")))
    if not isinstance(found.get("annotations"), list):
        return task
    nested = (annotation_of(each, control, number) for each in found["annotations"])
    return replace(task, annotations=tuple(each for each in nested if each is not None))


def project_of(content: Any) -> Project | None:
    """A project; None without an id."""
    found = _mapping(content)
    number = _id(found.get("id"))
    if number is None:
        return None
    return Project(
        number,
        _text(found.get("label_config")),
        _text(found.get("model_version")),
        _text(found.get("skip_queue")),
        _text(found.get("sampling")),
        _text(found.get("title")) or "",
    )


def tasks_asked(body: Any) -> list[int | None]:
    """The ids of the tasks that a request for predictions asks about, in order; None for what is no task."""
    return [_id(_mapping(task).get("id")) for task in _list(_mapping(body).get("tasks"))]


def config_sent(body: Any) -> str | None:
    """The labeling configuration that a request brings along."""
    found = _mapping(body)
    return _text(found.get("label_config")) or _text(found.get("schema"))


def moment(value: Any) -> datetime | None:
    """A time as Label Studio writes it."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is not None:
            found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return found if found is not None and found.year in _YEARS else None


def is_name(value: Any) -> bool:
    """Whether a class or an annotator may be called so."""
    return isinstance(value, str) and 0 < len(value) <= NAME_MAX and not _UNFIT.search(value)


def _choice(result: Any, control: str) -> str | None:
    """The one choice that the control's regions name; None for none, and for several."""
    chosen: dict[str, None] = {}
    for region in map(_mapping, _list(result)):
        if region.get("from_name") == control and region.get("type") == "choices":
            chosen |= dict.fromkeys(
                name for name in _list(_mapping(region.get("value")).get("choices")) if is_name(name)
            )
    return next(iter(chosen)) if len(chosen) == 1 else None


def _user(value: Any) -> int | None:
    # Some answers have the whole user in the place of the id.
    return _id(value.get("id")) if isinstance(value, Mapping) else _id(value)


def _ids(entries: Iterable[Any]) -> Iterable[int]:
    found = (_id(entry.get("id") if isinstance(entry, Mapping) else entry) for entry in entries)
    return (number for number in found if number is not None)


def _id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= ID_MAX else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
