"""What the queue calls: claim -> load -> compute -> save. Each kind of job is one function."""

import logging
from collections.abc import Callable

import torch
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from ntk.errors import NTKError, UnsupportedNetworkError
from store import jobs, states
from store.database import is_away
from store.errors import ArtifactError, ProjectGoneError, StorageFullError, StoreError
from store.tables import Job, Json
from telemetry import logs
from worker import identity, queue, repair, warm
from worker.context import Context, current
from worker.errors import CancelledError, JobError, ShuttingDownError
from worker.label_studio.job import label_studio
from worker.observe import fields, observed
from worker.predict import predict
from worker.prepare import prepare
from worker.progress import Reporter, heartbeat
from worker.score import score
from worker.suggest import suggest
from worker.train import train

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0

# A kind's function either returns the result for us to store, or None when it has ended the job itself
# in the transaction that wrote its work.
KINDS: dict[str, Callable[[Context, Job, Reporter], Json | None]] = {
    "prepare": prepare,
    "train": train,
    "suggest": suggest,
    "predict": predict,
    "score": score,
    "label_studio": label_studio,
}


def run(job_id: str, by_anyone: bool = False) -> None:
    """Entry point for the queue."""
    context = current()
    if by_anyone or not _handed_on(context, job_id):
        run_in(context, job_id)


def _handed_on(context: Context, job_id: str) -> bool:
    """Give a job to the worker that keeps its project warm by now, if another does.

    Requests that came while that worker was loading the project wait in the common queue: served here, they would
    make this worker load it too, and both write to one factor in turn.
    """
    try:
        with context.sessions.begin() as session:
            job = jobs.get(session, job_id)
        if job is None or job.status != "queued" or job.queue != queue.INTERACTIVE:
            return False
        holder = warm.holder(context.redis, job.project_id)
        if holder in {None, context.name} or identity.is_dead(holder):
            return False
        return warm.ring(context.redis, job.project_id, job_id) is not None
    except (DBAPIError, RedisError) as error:
        log.info("job %s stays here: %s", job_id, error)
        return False


def run_in(context: Context, job_id: str) -> None:
    """Run one job if it is still waiting. Failures end in the job's record, not in an exception."""
    with logs.scope(job_id=job_id):
        try:
            _run(context, job_id)
        except DBAPIError as error:
            if not is_away(error):
                raise
            log.warning("job %s: the database is away, the job goes back when it answers: %s", job_id, error)
            _give_back(context, job_id)


def _run(context: Context, job_id: str) -> None:
    with context.sessions.begin() as session:
        job = jobs.claim(session, job_id, context.name)
    if job is None:
        return
    # Not ended here: what is logged when the job goes back after an error belongs to it too.
    logs.note(**fields(job))
    try:
        with heartbeat(context, job), observed(context, job) as reporter:
            result = KINDS[job.kind](context, job, reporter)
        if result is not None:
            _end(context, job, "succeeded", result=result)
    except (CancelledError, ProjectGoneError):
        _end(context, job, "cancelled")
    except ShuttingDownError:
        with context.sessions.begin() as session:
            jobs.put_back(session, job)
        return
    except Exception as error:
        if is_away(error):
            raise
        # The last stop before the queue: it would only log what the job's record should say.
        _fail(context, job, _told(context, job, error))
    _signal(context, job)


def _told(context: Context, job: Job, error: Exception) -> JobError:
    """What the job's record says of an error."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, NTKError):
        unsupported = isinstance(error, UnsupportedNetworkError)
        return JobError("unsupported_network" if unsupported else "numerical_failure", str(error))
    if isinstance(error, ArtifactError):
        return repair.told(context, job.project_id, error)
    if isinstance(error, StoreError):
        return JobError("storage_full" if isinstance(error, StorageFullError) else "storage_failure", str(error))
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return JobError("out_of_memory", "the worker ran out of memory: ask for a smaller window")
    log.error("job %s failed", job.id, exc_info=error)
    return JobError("internal_error", f"{type(error).__name__} in the worker; its log has the rest")


def _give_back(context: Context, job_id: str) -> None:
    """Once the database answers, put the job back as if this attempt had not been; or stop waiting when told to stop.

    If it ended in a transaction whose answer was lost, it stays ended.
    """
    pause = _PAUSE_SECONDS
    while not context.stopping.wait(pause):
        try:
            with context.sessions.begin() as session:
                held = jobs.held_by(session, job_id, context.name)
                if held is not None and jobs.put_back(session, held):
                    log.info("job %s is queued again", job_id)
            return
        except DBAPIError as error:
            if not is_away(error):
                raise
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)


def _end(context: Context, job: Job, status: str, *, result: Json | None = None) -> None:
    with context.sessions.begin() as session:
        ended = jobs.finish(session, job, status, result=result)
        if not ended and status == "succeeded":
            status, ended = "cancelled", jobs.finish(session, job, "cancelled")
        # Of a job that is another worker's by now, that worker may be preparing the very same state.
        if ended and status == "cancelled":
            states.abandon(session, job.id)


def _fail(context: Context, job: Job, error: JobError) -> None:
    log.warning("job %s (%s) failed: %s: %s", job.id, job.kind, error.code, error)
    told = {"code": error.code, "detail": str(error)} | ({"job": error.job} if error.job else {})
    with context.sessions.begin() as session:
        if jobs.finish(session, job, "failed", error=told):
            states.abandon(session, job.id)


def _signal(context: Context, job: Job) -> None:
    try:
        queue.signal_end(context.redis, job.id)
    except RedisError as error:
        log.warning("could not signal the end of job %s: %s", job.id, error)
