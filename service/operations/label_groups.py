"""Labels of concurrent requests, written together: one transaction per project, whatever their number."""

import logging
from collections import Counter
from collections.abc import Sequence

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api_schemas import labels as wire
from service.context import Context
from service.operations import labels as operations
from service.operations import projects
from service.problems import ServiceError
from store import labels, pools
from store.labels import NewEvent
from store.tables import Project
from worker import warm

log = logging.getLogger(__name__)

Asked = tuple[Context, wire.LabelRequest]
Outcome = wire.LabelAccepted | Exception


def add_together(asked: Sequence[Asked]) -> list[Outcome]:
    """Append one event for each request, in order.

    A request that is wrong by itself has its problem as its outcome and does not hold up the others.
    """
    # An event that comes twice at once is written with the first group and found in the log with the second.
    times: Counter[tuple[str, str]] = Counter()
    groups: dict[tuple[int, str, str], list[int]] = {}
    for place, (context, request) in enumerate(asked):
        named = (request.project, request.event_id or f"unnamed {place}")
        # Projects are found anew for each key: one that may not see them must not be answered from another's.
        groups.setdefault((times[named], request.project, context.caller.prefix or ""), []).append(place)
        times[named] += 1
    outcomes: dict[int, Outcome] = {}
    for _, group in sorted(groups.items()):
        outcomes.update(zip(group, _written([asked[place] for place in group]), strict=True))
    return [outcomes[place] for place in range(len(asked))]


def _written(asked: Sequence[Asked]) -> list[Outcome]:
    try:
        return operations.without_races(lambda: _write(asked))
    except (ServiceError, SQLAlchemyError) as error:
        if len(asked) == 1:
            return [error]
    # Nothing was written. It may concern one of them only: each by itself.
    return [outcome for one in asked for outcome in _written([one])]


def _write(asked: Sequence[Asked]) -> list[Outcome]:
    """All of one project, in one transaction. Raises ServiceError, SQLAlchemyError for what concerns them all."""
    context, requests = asked[0][0], [request for _, request in asked]
    with context.sessions.begin() as session:
        project = projects.find(session, requests[0].project, context.caller)
        read = _read(session, project, requests, context.caller.key_id)
        seqs = _append(session, project, read)
        outcomes: list[Outcome] = [
            operations.accepted(project, request, event, seqs[place]) if isinstance(event, NewEvent) else event
            for place, (request, event) in enumerate(zip(requests, read, strict=True))
        ]
    _announce(context, project.id)
    return outcomes


def _announce(context: Context, project_id: int) -> None:
    try:
        warm.nudge(context.redis, project_id)
    except RedisError as error:
        # The next suggestion takes the labels in.
        log.info("labels of project %d were not announced: %s", project_id, error)


def _read(
    session: Session, project: Project, requests: Sequence[wire.LabelRequest], key_id: int | None
) -> list[NewEvent | ServiceError]:
    known = pools.positions(session, project.id, list({request.item for request in requests}))
    index = {name: k for k, name in enumerate(project.classes)}
    read: list[NewEvent | ServiceError] = []
    for request in requests:
        try:
            read.append(operations.event_from(project, known, index, request, key_id))
        except ServiceError as error:
            read.append(error)
    return read


def _append(session: Session, project: Project, read: list[NewEvent | ServiceError]) -> dict[int, int]:
    """Append what the log does not have yet; place -> sequence number.

    In `read`, an event whose id was used for something else becomes that problem.
    """
    ids = [event.event_id for event in read if isinstance(event, NewEvent) and event.event_id is not None]
    logged = labels.recorded(session, project.id, ids) if ids else {}
    seqs: dict[int, int] = {}
    new: dict[int, NewEvent] = {}
    for place, event in enumerate(read):
        if not isinstance(event, NewEvent):
            continue
        if event.event_id not in logged:
            new[place] = event
            continue
        before = logged[event.event_id]
        try:
            operations.check_repeats(before, event, before.seq)
            seqs[place] = before.seq
        except ServiceError as error:
            read[place] = error
    if new:
        last = operations.append(session, project, list(new.values()))
        seqs |= dict(zip(new, range(last - len(new) + 1, last + 1), strict=True))
    return seqs
