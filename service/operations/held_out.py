"""What held-out items truly are."""

import logging
from collections.abc import Sequence

from redis.exceptions import RedisError

from api_schemas import diagnostics as wire
from api_schemas.labels import LabelEntry
from service.context import Context
from service.operations import projects
from service.operations.labels import unknown_class
from service.problems import InvalidError, UnknownError
from store import held_out, pools
from worker import warm

log = logging.getLogger(__name__)


def put(context: Context, name: str, labels: Sequence[wire.HeldOutLabel]) -> wire.HeldOutLabelsAccepted:
    """All of them, or none. Raises UnknownError, InvalidError."""
    with context.sessions.begin() as session:
        project = projects.lock(session, name, context.caller)
        known = pools.positions(session, project.id, list({entry.item for entry in labels}))
        index = {one: k for k, one in enumerate(project.classes)}
        found: dict[int, int | None] = {}
        for place, entry in enumerate(labels, start=1):
            where = f"entry {place}: " if len(labels) > 1 else ""
            if entry.item not in known:
                raise UnknownError("unknown_item", f"{where}project {name!r} has no item {entry.item!r}")
            position, is_held_out = known[entry.item]
            if not is_held_out:
                raise InvalidError(
                    "item_not_held_out", f"{where}item {entry.item!r} is not held out: its label goes to POST /label"
                )
            label = entry.label
            number = label if label is None or isinstance(label, int) else index.get(label, len(index))
            if label is not None and (number is None or number >= len(index)):
                raise unknown_class(label, project.classes, where)
            if found.setdefault(position, number) != number:
                raise InvalidError(
                    "conflicting_labels", f"{where}item {entry.item!r} is named twice, with different classes"
                )
        held_out.put(session, project.id, found)
        answer = wire.HeldOutLabelsAccepted(accepted=len(labels), labeled=held_out.count(session, project.id))
    try:
        # Whoever keeps the project warm is to judge itself anew.
        warm.nudge(context.redis, project.id)
    except RedisError as error:
        log.info("held-out labels of project %d were not announced: %s", project.id, error)
    return answer


def from_file(entries: Sequence[LabelEntry]) -> list[wire.HeldOutLabel]:
    """Lines of a file of labels. Raises InvalidError where one says more than a class."""
    for place, entry in enumerate(entries, start=1):
        if entry.skip or entry.annotator is not None or entry.event_id is not None:
            raise InvalidError("invalid_labels", f"entry {place}: a held-out item has a class, and nothing besides")
    return [wire.HeldOutLabel(item=entry.item, label=entry.label) for entry in entries]
