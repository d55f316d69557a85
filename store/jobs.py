"""Jobs: created with the work they stand for, claimed once, fenced by worker and attempt."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.alive import alive
from store.tables import Job, Json, Project

FINISHED = ("succeeded", "failed", "cancelled")
OPEN = ("queued", "running")
ATTEMPTS_MAX = 2


@dataclass(frozen=True)
class Origin:
    """The request that asks for a job, and the trace that the job goes on with."""

    request_id: str | None = None
    trace: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Group:
    """Open jobs that have queue, kind and status in common."""

    queue: str
    kind: str
    status: str
    count: int
    oldest_seconds: float


# Every request claims: made once.
_CLAIM = (
    sa.update(Job)
    .where(Job.id == sa.bindparam("wanted", type_=sa.Text), Job.status == "queued")
    .values(
        status="running",
        stage="starting",
        done=0,
        total=0,
        unit="",
        worker=sa.bindparam("by", type_=sa.Text),
        attempt=Job.attempt + 1,
        started_at=sa.func.coalesce(Job.started_at, sa.func.now()),
        heartbeat_at=sa.func.now(),
    )
    .returning(Job)
    .execution_options(synchronize_session=False)
)


def create(
    session: Session, *, kind: str, project_id: int, queue: str, arguments: Json, origin: Origin | None = None
) -> Job:
    """A queued job; enqueue its id once this transaction has committed."""
    origin = origin or Origin()
    job = Job(
        id=f"job-{uuid.uuid4().hex}",
        kind=kind,
        project_id=project_id,
        queue=queue,
        arguments=arguments,
        status="queued",
        stage="queued",
        attempt=0,
        done=0,
        total=0,
        unit="",
        cancel_requested=False,
        request_id=origin.request_id,
        trace=None if origin.trace is None else dict(origin.trace),
    )
    session.add(job)
    session.flush()
    return job


def get(session: Session, job_id: str) -> Job | None:
    """The job as it stands in the database now."""
    return session.get(Job, job_id, populate_existing=True)


def claim(session: Session, job_id: str, worker: str) -> Job | None:
    """Take a queued job for `worker`; None if it was taken, cancelled or finished before."""
    return session.execute(_CLAIM, {"wanted": job_id, "by": worker}).scalar_one_or_none()


def _mine(job: Job) -> sa.ColumnElement[bool]:
    # A worker that was given up for lost must not write over its successor.
    return sa.and_(Job.id == job.id, Job.status == "running", Job.worker == job.worker, Job.attempt == job.attempt)


def report(session: Session, job: Job, *, stage: str, done: int, total: int, unit: str) -> bool:
    """Write progress. False when the worker should stop: cancelled, or no longer this worker's job."""
    cancel = session.execute(
        sa.update(Job)
        .where(_mine(job))
        .values(stage=stage, done=done, total=total, unit=unit, heartbeat_at=sa.func.now())
        .returning(Job.cancel_requested)
    ).scalar_one_or_none()
    return cancel is False


def finish(session: Session, job: Job, status: str, *, result: Json | None = None, error: Json | None = None) -> bool:
    """End a running job. False when it is no longer this worker's to end, or when a success was cancelled before."""
    values: dict[str, Any] = {"status": status, "stage": status, "finished_at": sa.func.now()}
    # Whoever was told that the job will stop must not find that it went through.
    wanted = _mine(job) if status != "succeeded" else sa.and_(_mine(job), Job.cancel_requested.is_(False))
    done = session.execute(sa.update(Job).where(wanted).values(**values, result=result, error=error).returning(Job.id))
    return done.scalar_one_or_none() is not None


def note(session: Session, job: Job, more: Json) -> None:
    """Add to a running job's arguments what its next attempt should know."""
    session.execute(sa.update(Job).where(_mine(job)).values(arguments=Job.arguments.op("||")(more)))


def put_back(session: Session, job: Job) -> bool:
    """Queue a running job again as if this attempt had not been; one that was cancelled meanwhile ends.

    False when it is no longer this worker's.
    """
    cancelled = finish(session, job, "cancelled") if _cancel_requested(session, job) else False
    back = session.execute(
        sa.update(Job)
        .where(_mine(job))
        .values(status="queued", stage="queued", worker=None, attempt=Job.attempt - 1)
        .returning(Job.id)
    )
    return cancelled or back.scalar_one_or_none() is not None


def _cancel_requested(session: Session, job: Job) -> bool:
    return bool(session.scalar(sa.select(Job.cancel_requested).where(_mine(job)).with_for_update()))


def held_by(session: Session, job_id: str, worker: str) -> Job | None:
    """The job, if it is running and this worker's."""
    return session.scalars(
        sa.select(Job).where(Job.id == job_id, Job.status == "running", Job.worker == worker)
    ).one_or_none()


def request_cancel(session: Session, job_id: str) -> None:
    """Cancel a queued job at once; ask a running one to stop at its next tile."""
    session.execute(
        sa.update(Job)
        .where(Job.id == job_id, Job.status == "queued")
        .values(status="cancelled", stage="cancelled", cancel_requested=True, finished_at=sa.func.now())
    )
    session.execute(sa.update(Job).where(Job.id == job_id, Job.status == "running").values(cancel_requested=True))


def cancel_all(session: Session, project_id: int) -> tuple[list[str], int]:
    """Cancel every open job of a project: (those that had not begun and have ended, how many have yet to stop)."""
    of_it = Job.project_id == project_id
    ended = session.scalars(
        sa.update(Job)
        .where(of_it, Job.status == "queued")
        .values(status="cancelled", stage="cancelled", cancel_requested=True, finished_at=sa.func.now())
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).all()
    stopping = session.scalars(
        sa.update(Job)
        .where(of_it, Job.status == "running")
        .values(cancel_requested=True)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).all()
    return list(ended), len(stopping)


def beat(session: Session, job: Job) -> None:
    """Say that the worker still runs this job."""
    session.execute(sa.update(Job).where(_mine(job)).values(heartbeat_at=sa.func.now()))


@dataclass(frozen=True)
class Pulse:
    """A running job as one look at it saw it: the same pulse twice means that its worker said nothing in between."""

    job_id: str
    attempt: int
    worker: str | None
    heartbeat_at: datetime | None


def running(session: Session) -> list[Pulse]:
    """The pulses of all running jobs."""
    rows = session.execute(sa.select(Job.id, Job.attempt, Job.worker, Job.heartbeat_at).where(Job.status == "running"))
    return [Pulse(*row) for row in rows]


def release(session: Session, pulse: Pulse) -> Job | None:
    """Take a job from a worker that is gone: queue it again, or end it. None if it has moved since the pulse.

    It ends if somebody wants it cancelled, or if it has cost its share of workers.
    """
    job = session.scalars(
        sa.select(Job)
        .where(
            Job.id == pulse.job_id,
            Job.status == "running",
            Job.attempt == pulse.attempt,
            Job.worker == pulse.worker,
            Job.heartbeat_at == pulse.heartbeat_at,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if job is None:
        return None
    reached, job.worker = _reached(job), None
    if job.cancel_requested:
        job.status = job.stage = "cancelled"
    elif job.attempt >= ATTEMPTS_MAX:
        job.status = job.stage = "failed"
        times = "twice" if job.attempt == 2 else f"{job.attempt} times"
        job.error = {
            "code": "worker_lost",
            "detail": f"the worker died {times} while running this job, last in stage {reached}",
        }
    else:
        job.status = job.stage = "queued"
        return job
    session.execute(sa.update(Job).where(Job.id == job.id).values(finished_at=sa.func.now()))
    return job


def _reached(job: Job) -> str:
    return f"{job.stage} at {job.done} of {job.total} {job.unit}".rstrip() if job.total else job.stage


@dataclass(frozen=True)
class Waiting:
    """A queued job, as the queue should know it."""

    queue: str
    project_id: int
    job_id: str
    attempt: int


def queued(session: Session) -> list[Waiting]:
    """All jobs that wait, the oldest first."""
    rows = session.execute(
        sa.select(Job.queue, Job.project_id, Job.id, Job.attempt)
        .where(Job.status == "queued")
        .order_by(Job.created_at)
        .limit(10_000)
    )
    return [Waiting(*row) for row in rows]


def queue_position(session: Session, job: Job) -> int | None:
    """How many queued jobs of the same queue are ahead; None unless it is queued."""
    if job.status != "queued":
        return None
    ahead = sa.select(sa.func.count()).where(
        Job.status == "queued", Job.queue == job.queue, Job.created_at < job.created_at
    )
    return session.execute(ahead).scalar_one()


def standing(session: Session) -> list[Group]:
    """Open jobs, counted, with the age of the oldest of each group by the database's clock."""
    age = sa.func.extract("epoch", sa.func.now() - sa.func.min(Job.created_at))
    rows = session.execute(
        sa.select(Job.queue, Job.kind, Job.status, sa.func.count(), age)
        .where(Job.status.in_(OPEN))
        .group_by(Job.queue, Job.kind, Job.status)
    )
    return [Group(row[0], row[1], row[2], row[3], float(row[4])) for row in rows]


def open_of_kind(session: Session, project_id: int, kind: str) -> Job | None:
    """The newest unfinished job of a kind, if any."""
    return session.scalars(
        sa.select(Job)
        .where(Job.project_id == project_id, Job.kind == kind, Job.status.in_(OPEN))
        .order_by(Job.created_at.desc())
        .limit(1)
    ).first()


def page(
    session: Session,
    *,
    project_id: int | None,
    within: Collection[str] | None = None,
    status: str | None,
    kinds: Collection[str] | None = None,
    before: str | None,
    limit: int,
) -> list[Job]:
    """Jobs, newest first. `within`: only of the projects with these names; `kinds`: only of these kinds."""
    query = sa.select(Job).where(alive(Job.project_id)).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(Job.project_id == project_id)
    if within is not None:
        query = query.where(Job.project_id.in_(sa.select(Project.id).where(Project.name.in_(within))))
    if status is not None:
        query = query.where(Job.status == status)
    if kinds is not None:
        query = query.where(Job.kind.in_(kinds))
    if before is not None:
        cursor = sa.select(Job.created_at, Job.id).where(Job.id == before).subquery()
        later = sa.tuple_(Job.created_at, Job.id) < sa.tuple_(cursor.c.created_at, cursor.c.id)
        query = query.where(later)
    return list(session.scalars(query))
