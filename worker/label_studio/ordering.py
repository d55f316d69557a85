"""The order of tasks: our scores as predictions under a version of their own, which the project then goes by.

Label Studio serves the lowest score first, among predictions whose version is the project's. The new version is
complete before it is put in force, and the old one deleted after: at no time is the order a mixture.
"""

import logging
import time
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from redis.exceptions import RedisError

from store import auto, jobs, label_studio
from store.tables import Job, Json, LabelStudioConnection, Project
from studio import predictions
from studio.api import PREDICTIONS_AT_ONCE, LabelStudio
from studio.errors import RefusedError
from worker import queue, warm
from worker.context import Context
from worker.errors import JobError
from worker.progress import Reporter

log = logging.getLogger(__name__)

# An order follows the one before after this, or after three times what that one took if that is more.
EVERY_SECONDS = 5.0
SHARE = 3.0
# A score that no interactive worker has begun after this is computed here.
PATIENCE_SECONDS = 3.0
SCORING_SECONDS_MAX = 1800.0
_PAUSE_SECONDS = 0.05


def order(context: Context, studio: LabelStudio, connection_id: int, job: Job, reporter: Reporter) -> Json:
    """Put the tasks in the order of the acquisition scores. Raises LabelStudioError, JobError."""
    began = time.monotonic()
    scored = _scored(context, connection_id, job, reporter)
    if scored is None:
        return {"order": "not_prepared"}
    with context.sessions.begin() as session:
        connection = label_studio.get(session, connection_id)
        if connection is None:
            return {"order": "disconnected"}
        tasks = label_studio.tasks_at(session, connection_id, scored["positions"])
    ranked = [
        (tasks[position], predicted, confidence)
        for position, predicted, confidence in zip(
            scored["positions"], scored["predicted"], scored["confidence"], strict=True
        )
        if position in tasks
    ]
    scores = predictions.order_scores(len(ranked))
    version = f"{predictions.VERSION_PREFIX}{scored['label_seq']}-{job.id[-6:]}{job.attempt}"
    made = []
    for (task, predicted, confidence), score in zip(ranked, scores, strict=True):
        regions = []
        if predicted is not None and confidence is not None:
            regions = [predictions.region(connection.from_name, connection.to_name, predicted, confidence)]
        made.append({"task": task, **predictions.prediction(regions, score, version)})
    _import(studio, made, reporter)
    if made:
        reporter.stage("putting the order in force")
        studio.change_project(model_version=version)
    in_force = version if made else None
    _keep(context, connection_id, scored, in_force, {entry["task"]: entry["score"] for entry in made}, began)
    for name in studio.model_versions():
        if name.startswith(predictions.VERSION_PREFIX) and name != in_force:
            studio.delete_predictions(name)
    return {"order": in_force, "ranked": len(made), "strategy": scored["strategy"], "label_seq": scored["label_seq"]}


def _scored(context: Context, connection_id: int, job: Job, reporter: Reporter) -> Json | None:
    """Every candidate of the project with its score; None where no kernel state is prepared."""
    reporter.stage("scoring")
    with context.sessions.begin() as session:
        project = session.get_one(Project, job.project_id)
        connection = label_studio.get(session, connection_id)
        if project.active_state_id is None or connection is None:
            return None
        strategy = connection.strategies["strategy"]
        if strategy == "auto":
            strategy = auto.choose(auto.situation(session, project)).strategy
        scoring = jobs.create(
            session,
            kind="score",
            project_id=job.project_id,
            queue=queue.INTERACTIVE,
            arguments={
                "strategy": strategy,
                "options": connection.strategies["options"][strategy],
                "seed": 0,
                "per_class": None,
                "min_distance": None,
                "random_share": 0.0,
            },
            origin=jobs.Origin(job.request_id, context.tracing.carrier()),
        )
    try:
        # The worker that keeps the project warm knows the labels already.
        if warm.ring(context.redis, job.project_id, scoring.id) is None:
            queue.enqueue(context.redis, queue.INTERACTIVE, scoring.id)
    except RedisError as error:
        log.info("job %s is run here: %s", scoring.id, error)
    return _awaited(context, scoring.id, reporter)


def _awaited(context: Context, job_id: str, reporter: Reporter) -> Json:
    from worker.jobs import run_in  # it imports us

    began, tried = time.monotonic(), False
    while True:
        with context.sessions.begin() as session:
            found = jobs.get(session, job_id)
            if found is not None and found.status == "succeeded" and found.result is not None:
                # Every candidate of the project, after every few labels: too much to keep once it is taken over.
                result, found.result = found.result, {"candidates": len(found.result["positions"])}
                return result
        if found is None or found.status in {"failed", "cancelled"}:
            error = (found.error if found else None) or {"code": "job_cancelled", "detail": "the scoring was cancelled"}
            raise JobError(str(error["code"]), str(error["detail"]))
        waited = time.monotonic() - began
        if waited > SCORING_SECONDS_MAX:
            raise JobError("scoring_slow", f"{job_id} has not ended in {SCORING_SECONDS_MAX:g} seconds")
        if found.status == "queued" and waited > PATIENCE_SECONDS and not tried:
            # This may be the only worker there is.
            run_in(context, job_id)
            tried = True
        reporter.check()
        time.sleep(_PAUSE_SECONDS)


def _import(studio: LabelStudio, made: list[dict[str, Any]], reporter: Reporter) -> None:
    """Import in chunks; tasks that were deleted meanwhile are taken out of `made`."""
    if made:
        reporter.stage("sending the order", len(made), "tasks")
    sent: list[dict[str, Any]] = []
    for start in range(0, len(made), PREDICTIONS_AT_ONCE):
        chunk = made[start : start + PREDICTIONS_AT_ONCE]
        sent += _imported(studio, chunk)
        reporter.advance(len(chunk))
    made[:] = sent


def _imported(studio: LabelStudio, chunk: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the chunk that Label Studio took: one task that is gone has a whole request refused."""
    try:
        studio.import_predictions(chunk)
    except RefusedError as error:
        if error.status != 400:
            raise
        if len(chunk) == 1:
            if studio.has_task(chunk[0]["task"]):
                raise
            return []
        middle = len(chunk) // 2
        return _imported(studio, chunk[:middle]) + _imported(studio, chunk[middle:])
    return chunk


def _keep(
    context: Context, connection_id: int, scored: Json, version: str | None, scores: dict[int, float], began: float
) -> None:
    wait = timedelta(seconds=max(EVERY_SECONDS, SHARE * (time.monotonic() - began)))
    with context.sessions.begin() as session:
        connection: LabelStudioConnection | None = label_studio.get(session, connection_id, lock=True)
        if connection is None:
            return
        connection.model_version = version
        connection.order_seq, connection.order_state_id = scored["label_seq"], scored["state"]
        now = session.scalar(sa.select(sa.func.statement_timestamp()))
        assert now is not None
        connection.order_not_before = now + wait
        session.flush()
        label_studio.set_scores(session, connection_id, scores)
