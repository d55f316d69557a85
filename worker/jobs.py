"""What the queue calls: claim -> load -> compute -> save. Each kind of job is one function."""

import logging
from collections.abc import Callable

import torch
from redis.exceptions import RedisError

from ntk.errors import NTKError, UnsupportedNetworkError
from store import jobs, states
from store.errors import StoreError
from store.tables import Job, Json
from worker import queue
from worker.context import Context, current
from worker.errors import CancelledError, JobError, ShuttingDownError
from worker.predict import predict
from worker.prepare import prepare
from worker.progress import Reporter, heartbeat
from worker.suggest import suggest
from worker.train import train

log = logging.getLogger(__name__)

# A kind's function either returns the result for us to store, or None when it has ended the job itself
# in the transaction that wrote its work.
KINDS: dict[str, Callable[[Context, Job, Reporter], Json | None]] = {
    "prepare": prepare,
    "train": train,
    "suggest": suggest,
    "predict": predict,
}


def run(job_id: str) -> None:
    """Entry point for the queue."""
    run_in(current(), job_id)


def run_in(context: Context, job_id: str) -> None:
    """Run one job if it is still waiting. Failures end in the job's record, not in an exception."""
    with context.sessions.begin() as session:
        job = jobs.claim(session, job_id, context.name)
    if job is None:
        return
    try:
        with heartbeat(context, job):
            result = KINDS[job.kind](context, job, Reporter(context, job))
        if result is not None:
            _end(context, job, "succeeded", result=result)
    except CancelledError:
        _end(context, job, "cancelled")
    except ShuttingDownError:
        with context.sessions.begin() as session:
            jobs.put_back(session, job)
    except JobError as error:
        _fail(context, job, error.code, str(error))
    except NTKError as error:
        _fail(context, job, _code(error), str(error))
    except StoreError as error:
        _fail(context, job, "storage_failure", str(error))
    except (MemoryError, torch.OutOfMemoryError):
        _fail(context, job, "out_of_memory", "the worker ran out of memory: ask for a smaller window")
    except Exception as error:
        # The last stop before the queue: it would only log what the job's record should say.
        log.exception("job %s failed", job.id)
        _fail(context, job, "internal_error", f"{type(error).__name__} in the worker; its log has the rest")
    finally:
        _signal(context, job)


def _code(error: NTKError) -> str:
    return "unsupported_network" if isinstance(error, UnsupportedNetworkError) else "numerical_failure"


def _end(context: Context, job: Job, status: str, *, result: Json | None = None) -> None:
    with context.sessions.begin() as session:
        jobs.finish(session, job, status, result=result)
        if status == "cancelled":
            states.abandon(session, job.id)


def _fail(context: Context, job: Job, code: str, detail: str) -> None:
    log.warning("job %s (%s) failed: %s: %s", job.id, job.kind, code, detail)
    with context.sessions.begin() as session:
        jobs.finish(session, job, "failed", error={"code": code, "detail": detail})
        states.abandon(session, job.id)


def _signal(context: Context, job: Job) -> None:
    try:
        queue.signal_end(context.redis, job.id)
    except RedisError as error:
        log.warning("could not signal the end of job %s: %s", job.id, error)
