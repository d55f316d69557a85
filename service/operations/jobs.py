"""Jobs: describe, list, cancel, wait for."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from api_schemas import jobs as wire
from service.caller import Caller
from service.context import Context
from service.endings import set_within
from service.operations import projects
from service.problems import (
    ConflictError,
    FullError,
    InvalidError,
    ServiceError,
    UnavailableError,
    UnknownError,
    unknown_project,
)
from store import jobs, states
from store.database import relax_durability
from store.tables import Job, Json, Project
from telemetry import logs
from worker import queue, warm

log = logging.getLogger(__name__)

_WAIT_SLICE_SECONDS = 1.0
# Failures of a job that the request or the project can mend; all others are ours.
_ERRORS: dict[str, type[ServiceError]] = {
    "not_prepared": ConflictError,
    "artifact_lost": ConflictError,
    "no_loss_predictor": ConflictError,
    "unsupported_network": ConflictError,
    "too_few_outputs": ConflictError,
    "batch_too_large": InvalidError,
    "too_large": InvalidError,
    "storage_full": FullError,
}


def show(context: Context, job_id: str) -> wire.Job:
    """Raises UnknownError `unknown_job`."""
    with context.sessions.begin() as session:
        job, project = _find(session, job_id, context.caller)
        return describe(session, job, project)


def _find(session: Session, job_id: str, caller: Caller) -> tuple[Job, str]:
    """(the job, its project's name). Jobs of projects deleted, or not seen by the caller, are as good as none."""
    job = jobs.get(session, job_id)
    project = None if job is None else session.get(Project, job.project_id, populate_existing=True)
    if job is None or project is None or project.deleted_at is not None or not caller.sees(project.name):
        raise UnknownError("unknown_job", f"there is no job {job_id!r}; GET /jobs lists them")
    return job, project.name


def page(
    context: Context,
    *,
    project: str | None,
    status: str | None,
    kinds: Collection[str] | None,
    before: str | None,
    limit: int,
) -> wire.JobList:
    """Jobs, newest first. Raises UnknownError."""
    with context.sessions.begin() as session:
        project_id = None if project is None else projects.find(session, project, context.caller).id
        found = jobs.page(
            session,
            project_id=project_id,
            within=context.caller.projects,
            status=status,
            kinds=kinds,
            before=before,
            limit=limit,
        )
        ids = {job.project_id for job in found}
        there = sa.select(Project.id, Project.name).where(Project.id.in_(ids), Project.deleted_at.is_(None))
        names = {row[0]: row[1] for row in session.execute(there)}
        described = [describe(session, job, names[job.project_id]) for job in found if job.project_id in names]
    # Results can be long, and a list is for looking over: GET /jobs/{id} has them.
    return wire.JobList(
        jobs=[job.model_copy(update={"result": None}) for job in described],
        next=found[-1].id if len(found) == limit else None,
    )


def cancel(context: Context, job_id: str) -> wire.Job:
    """Ask a job to stop. Raises UnknownError, ConflictError `job_finished`."""
    with context.sessions.begin() as session:
        job, project = _find(session, job_id, context.caller)
        if job.status in jobs.FINISHED:
            raise ConflictError("job_finished", f"job {job_id} has {job.status} already")
        jobs.request_cancel(session, job_id)
        job, _ = _find(session, job_id, context.caller)
        if job.status not in {"cancelled", *jobs.OPEN}:
            # It ended between the two looks.
            raise ConflictError("job_finished", f"job {job_id} has {job.status} already")
        if job.status == "cancelled":
            states.abandon(session, job_id)
        answer = describe(session, job, project)
    if answer.status == "cancelled":
        signal(context, job_id)
    return answer


def signal(context: Context, job_id: str) -> None:
    """Announce the end of a job that ended here; whoever waits for it looks now and then anyway."""
    try:
        queue.signal_end(context.redis, job_id)
    except RedisError as error:
        log.warning("could not signal the end of job %s: %s", job_id, error)


def describe(session: Session, job: Job, project: str) -> wire.Job:
    """The job as the wire has it."""
    return described(job, project, jobs.queue_position(session, job), job.result)


def described(job: Job, project: str, queue_position: int | None, result: Json | None) -> wire.Job:
    """The job as the wire has it, from what was read of it."""
    return wire.Job.model_validate(
        {
            "id": job.id,
            "kind": job.kind,
            "project": project,
            "status": job.status,
            "stage": job.stage,
            "progress": {"done": job.done, "total": job.total, "unit": job.unit},
            "eta_seconds": _eta(job),
            "attempt": job.attempt,
            "queue_position": queue_position,
            "error": job.error,
            "result": result,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "links": {
                "self": f"/jobs/{job.id}",
                "events": f"/jobs/{job.id}/events",
                "cancel": f"/jobs/{job.id}/cancel",
            },
        }
    )


def links(job_id: str) -> dict[str, str]:
    """Headers that lead to a job."""
    return {"Location": f"/jobs/{job_id}", "Retry-After": "1"}


def _eta(job: Job) -> float | None:
    """Seconds left at the pace so far, for the stage that runs."""
    if job.status != "running" or job.started_at is None or job.heartbeat_at is None:
        return None
    # Both times are the database's: its clock may differ from this machine's, and may have been set meanwhile.
    elapsed = (job.heartbeat_at - job.started_at).total_seconds()
    if elapsed < 0 or not 0 < job.done <= job.total:
        return None
    return round(elapsed * (job.total - job.done) / job.done, 1)


def create_interactive(context: Context, session: Session, kind: str, project_id: int, arguments: Json) -> Job:
    """A job for the worker that holds the project; `start_interactive` it once the transaction has committed."""
    relax_durability(session)
    return jobs.create(
        session, kind=kind, project_id=project_id, queue=queue.INTERACTIVE, arguments=arguments, origin=context.origin
    )


def started_before(session: Session, kept: Json | None) -> Job | None:
    """The job that the same request started before, as its key has it; None if that came to nothing."""
    job = None if kept is None else jobs.get(session, kept["job"])
    # What failed has given nothing away: the same request may try again.
    return None if job is None or job.status in {"failed", "cancelled"} else job


def start_interactive(context: Context, job: Job) -> None:
    """Hand a committed job to a worker. Raises UnavailableError if the queue is away; the job is cancelled then."""
    logs.note(job_id=job.id)
    try:
        with context.tracing.span("enqueue", kind="producer", attributes={"lookahead.job": job.id}):
            if warm.ring(context.redis, job.project_id, job.id) is None:
                queue.enqueue(context.redis, queue.INTERACTIVE, job.id)
    except RedisError as error:
        with context.sessions.begin() as session:
            jobs.request_cancel(session, job.id)
        raise UnavailableError(
            "queue_unavailable", "the job queue cannot be reached: try again", headers={"Retry-After": "2"}
        ) from error


@contextmanager
def of(project: str) -> Iterator[None]:
    """A job that is gone while it is waited for is gone with its project. Raises UnknownError `unknown_project`."""
    try:
        yield
    except UnknownError as error:
        if error.code != "unknown_job":
            raise
        raise unknown_project(project) from error


async def run_interactive(context: Context, create: Callable[[], Job], wait_seconds: float) -> wire.Job:
    """Create and start an interactive job and wait for its end; returns it finished, or as it stands then.

    `create` may give a job that an earlier request started. No thread is held while it waits. Raises what `create`
    raises, UnavailableError, and the job's own failure as a problem.
    """
    job = await run_in_threadpool(create)
    deadline = time.monotonic() + wait_seconds
    with context.endings.expecting(job.id) as ended:
        if job.status == "queued":
            await run_in_threadpool(start_interactive, context, job)
        while job.status not in jobs.FINISHED and (left := deadline - time.monotonic()) > 0:
            announced = await set_within(ended, min(left, _WAIT_SLICE_SECONDS))
            ended.clear()
            if announced or time.monotonic() < deadline:
                described = await run_in_threadpool(show, context, job.id)
                if described.status in jobs.FINISHED:
                    return _succeeding(described)
    return _succeeding(await run_in_threadpool(show, context, job.id))


def _succeeding(job: wire.Job) -> wire.Job:
    if job.status == "cancelled":
        raise ConflictError("job_cancelled", f"job {job.id} was cancelled", job=job.id)
    if job.status == "failed":
        assert job.error is not None
        raise _ERRORS.get(job.error.code, ServiceError)(
            job.error.code,
            job.error.detail,
            job=job.error.job or job.id,
            headers={"Retry-After": "2"} if job.error.job else None,
        )
    return job
