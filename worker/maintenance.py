"""What keeps jobs moving when a worker or the queue is lost: Postgres knows what should run."""

import logging
import threading
from datetime import timedelta

from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from store import jobs
from worker import queue, warm
from worker.context import Context
from worker.progress import BEAT_SECONDS

log = logging.getLogger(__name__)

SILENT_FOR = timedelta(seconds=5 * BEAT_SECONDS)
# A job is enqueued right after its row is committed: older than this and unknown to the queue means lost.
UNQUEUED_FOR = timedelta(seconds=3)
# A job may wait this long for the worker that has its project warm; then any other will do.
FAITHFUL_FOR = timedelta(seconds=10)
EVERY_SECONDS = 2.0


def sweep(context: Context) -> int:
    """Queue again what was lost; returns how many jobs. Safe to run in every worker at once."""
    with context.sessions.begin() as session:
        jobs.release_lost(session, SILENT_FOR)
    with context.sessions.begin() as session:
        due = jobs.queued(session, UNQUEUED_FOR)
        impatient = {job.id for job in jobs.queued(session, FAITHFUL_FOR)} if due else set()
    known = {name: queue.waiting(context.redis, name) for name in {job.queue for job in due}}
    lost = [
        job
        for job in due
        if (job.id, job.attempt) not in known[job.queue]
        and (job.id in impatient or not warm.waits(context.redis, job.project_id, job.id))
    ]
    for job in lost:
        queue.enqueue(context.redis, job.queue, job.id, job.attempt)
        log.warning("job %s was not in the queue any more: enqueued again", job.id)
    return len(lost)


def start(context: Context) -> threading.Thread:
    """Sweep every few seconds until the worker stops."""

    def loop() -> None:
        while not context.stopping.wait(EVERY_SECONDS):
            try:
                sweep(context)
            except (OperationalError, RedisError) as error:
                log.warning("sweep failed, trying again: %s", error)

    thread = threading.Thread(target=loop, name="maintenance", daemon=True)
    thread.start()
    return thread
