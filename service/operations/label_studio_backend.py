"""What Label Studio asks of us and tells us: predictions and webhooks of one connection."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas import jobs as job_wire
from api_schemas import label_studio as wire
from api_schemas import suggest as suggest_wire
from api_schemas.train import TrainRequest
from service.caller import Caller
from service.context import Context
from service.idempotency import Once
from service.label_studio.backends import Backend
from service.operations import labels, suggest, train
from service.problems import ServiceError
from store import label_studio, label_studio_fold, pools
from store.errors import ProjectGoneError
from store.label_studio_fold import Heard
from store.tables import Job, LabelStudioConnection
from studio import config, payloads, predictions
from studio.errors import ConfigError
from studio.items import item_of
from studio.payloads import Event
from worker import warm

log = logging.getLogger(__name__)

# Label Studio waits a hundred seconds; a person who opens a task does not.
PREDICT_SECONDS = 20.0
TASKS_MAX = 2000
ENTRIES_MAX = 20_000
_NEVER = "lookahead-0"
_STATUS = {"succeeded": "finished", "cancelled": "failed"}


def version(context: Context, backend: Backend) -> wire.BackendSetup:
    """The version of the predictions in force."""
    with context.sessions.begin() as session:
        connection = label_studio.get(session, backend.connection_id)
        found = None if connection is None else connection.model_version
    return wire.BackendSetup(model_version=found or _NEVER)


async def predict(context: Context, backend: Backend, body: Any) -> wire.BackendPredictions:
    """One prediction per task, in order; empty ones for tasks that we do not know or cannot tell about yet."""
    asked = payloads.tasks_asked(body)[:TASKS_MAX]
    connection, known = await run_in_threadpool(_known, context, backend, asked)
    model_version = (connection.model_version if connection is not None else None) or _NEVER
    told = await _told(_as_backend(context, backend), backend, [item for item, _ in known.values()])
    results = []
    for task in asked:
        item, score = known.get(task, ("", None)) if task is not None else ("", None)
        regions = []
        if item in told and connection is not None:
            choice, confidence = told[item]
            regions = [predictions.region(connection.from_name, connection.to_name, choice, confidence)]
        score = predictions.LAST if score is None else score
        results.append(wire.BackendPrediction.model_validate(predictions.prediction(regions, score, model_version)))
    return wire.BackendPredictions(results=results)


def _known(
    context: Context, backend: Backend, asked: Sequence[int | None]
) -> tuple[LabelStudioConnection | None, dict[int, tuple[str, float | None]]]:
    with context.sessions.begin() as session:
        connection = label_studio.get(session, backend.connection_id)
        if connection is None:
            return None, {}
        return connection, label_studio.items_of(session, connection.id, [task for task in asked if task is not None])


async def _told(context: Context, backend: Backend, items: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Item -> (class, confidence), as far as there is a model that answers in time."""
    if not items:
        return {}
    try:
        answer = await suggest.predict(context, backend.project, items, "linearized", PREDICT_SECONDS)
    except ServiceError as error:
        log.info("connection %s: no predictions: %s", backend.prefix, error.detail)
        return {}
    if isinstance(answer, job_wire.Job):
        return {}
    assert isinstance(answer, suggest_wire.PredictionsAnswer)
    return {each.item: (each.predicted, predictions.nearest_probability(each.outputs)) for each in answer.predictions}


def hear(context: Context, backend: Backend, body: Any) -> wire.BackendHeard:
    """Take a webhook's message in: what it says of labels is durable when this returns, the rest is for a job."""
    try:
        event, project_id = labels.without_races(lambda: _hear(context, backend, body))
    except ProjectGoneError:
        # With the project the connection has ended.
        return wire.BackendHeard()
    if event is not None and event.action == "START_TRAINING":
        _start_training(_as_backend(context, backend), backend)
    if project_id is not None:
        try:
            warm.nudge(context.redis, project_id)
        except RedisError as error:
            log.info("labels of project %d were not announced: %s", project_id, error)
    return wire.BackendHeard()


def _hear(context: Context, backend: Backend, body: Any) -> tuple[Event | None, int | None]:
    """(the message, the project if it has new labels now)."""
    with context.sessions.begin() as session:
        connection = label_studio.get(session, backend.connection_id, lock=True)
        if connection is None:
            return None, None
        event = payloads.event_of(body, connection.from_name)
        if event.project is not None and event.project.id != connection.label_studio_project:
            # The webhook of an organisation speaks of all its projects.
            return None, None
        if event.project is not None:
            _note_project(session, connection, event)
        events = _take(session, connection, event)
        if events:
            label_studio.want_order(session, connection.id)
        return event, connection.project_id if events else None


def _take(session: Session, connection: LabelStudioConnection, event: Event) -> int:
    """Fold what the message says of tasks and annotations; returns how many events the log has more."""
    _note_tasks(session, connection, event)
    heard = [
        Heard(each.id, each.task, each.user, each.kind, each.choice, each.updated_at)
        for each in event.annotations[:ENTRIES_MAX]
    ]
    taken = label_studio_fold.take(session, connection, heard, event.deleted_annotations[:ENTRIES_MAX])
    events = taken.events
    if event.deleted_tasks:
        events += label_studio_fold.drop_tasks(session, connection, event.deleted_tasks[:ENTRIES_MAX]).events
    if taken.unknown_tasks:
        _read_soon(session, connection)
    return events


def _note_tasks(session: Session, connection: LabelStudioConnection, event: Event) -> None:
    # Deleted ones too: what is told of them later must find them gone.
    named = {task.id for task in event.tasks} | {each.task for each in event.annotations} | {*event.deleted_tasks}
    wanted = sorted(named)[:ENTRIES_MAX]
    known = label_studio.tasks_of(session, connection.id, wanted)
    fresh = [task for task in wanted if task not in known]
    if not fresh:
        return
    found = pools.positions(session, connection.project_id, [item_of(task) for task in fresh])
    places = {task: found[item_of(task)][0] if item_of(task) in found else None for task in fresh}
    label_studio.note_tasks(session, connection.id, places)
    if connection.add_tasks and None in places.values() and not event.deleted_tasks:
        _read_soon(session, connection)


def _read_soon(session: Session, connection: LabelStudioConnection) -> None:
    """Tasks that the pool does not have are fetched by the next job, not while Label Studio waits."""
    soon = sa.func.statement_timestamp() + label_studio.DEBOUNCE
    connection.sync_due_at = session.scalar(sa.select(sa.func.least(soon, connection.sync_due_at)))


def _note_project(session: Session, connection: LabelStudioConnection, event: Event) -> None:
    """Take over what has changed of the configuration."""
    assert event.project is not None
    if event.project.skip_queue is not None:
        connection.own_skips = event.project.skip_queue != "IGNORE_SKIPPED"
    if event.action != "PROJECT_UPDATED" or event.project.label_config is None:
        return
    try:
        control = config.control_of(event.project.label_config, connection.from_name)
    except ConfigError as error:
        connection.problem = str(error)
        return
    connection.to_name, connection.data_key = control.to_name, control.data_key
    label_studio_fold.learn_choices(session, connection, control.choices)


def _start_training(context: Context, backend: Backend) -> None:
    try:
        once = Once(context, "", None, "label-studio")
        train.start(context, backend.project, TrainRequest(), once)
    except (ServiceError, IntegrityError) as error:
        log.info("connection %s: no training: %s", backend.prefix, error)


def training(context: Context, backend: Backend) -> wire.BackendJob:
    """How the newest training of the project stands."""
    with context.sessions.begin() as session:
        connection = label_studio.get(session, backend.connection_id)
        if connection is None:
            return wire.BackendJob(job_status="none")
        newest = session.scalars(
            sa.select(Job)
            .where(Job.project_id == connection.project_id, Job.kind == "train")
            .order_by(Job.created_at.desc())
            .limit(1)
        ).first()
    if newest is None:
        return wire.BackendJob(job_status="none")
    return wire.BackendJob.model_validate({"job_status": _STATUS.get(newest.status, newest.status)})


def _as_backend(context: Context, backend: Backend) -> Context:
    """The context of a caller who sees the connection's project and no other."""
    return replace(context, caller=Caller(projects=frozenset({backend.project})))
