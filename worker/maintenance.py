"""What keeps jobs moving when a worker or the queue is lost: Postgres knows what should run."""

import logging
import threading
from datetime import timedelta

from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from store import jobs
from worker import queue
from worker.context import Context
from worker.progress import BEAT_SECONDS

log = logging.getLogger(__name__)

SILENT_FOR = timedelta(seconds=5 * BEAT_SECONDS)
# A job is enqueued right after its row is committed: older than this and unknown to the queue means lost.
UNQUEUED_FOR = timedelta(seconds=3)
EVERY_SECONDS = 2.0


def sweep(context: Context) -> int:
    """Queue again what was lost; returns how many jobs. Safe to run in every worker at once."""
    with context.sessions.begin() as session:
        jobs.release_lost(session, SILENT_FOR)
    with context.sessions.begin() as session:
        waiting = [(job.queue, job.id, job.attempt) for job in jobs.queued(session, UNQUEUED_FOR)]
    lost = [entry for entry in waiting if not queue.is_waiting(context.redis, entry[1], entry[2])]
    for name, job_id, attempt in lost:
        queue.enqueue(context.redis, name, job_id, attempt)
        log.warning("job %s was not in the queue any more: enqueued again", job_id)
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
