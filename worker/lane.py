"""The warm lane: a thread that serves this worker's inbox while its main thread serves the common queues.

So a labeler whose project is warm never waits for another project's state to be loaded, and a request takes two
round trips through Redis instead of a dozen.
"""

import logging
import threading

from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from store import jobs
from worker import queue, warm
from worker.catch_up import freshen
from worker.context import Context
from worker.jobs import run_in

log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0


def start(context: Context) -> list[threading.Thread]:
    """Serve the inbox and keep the leases until the worker stops."""
    context.serves_inbox = True
    threads = [
        threading.Thread(target=_serve, args=(context,), name="warm-lane", daemon=True),
        threading.Thread(target=_keep, args=(context,), name="warm-leases", daemon=True),
    ]
    for thread in threads:
        thread.start()
    return threads


def _serve(context: Context) -> None:
    while not context.stopping.is_set():
        try:
            handle(context, warm.take(context.redis, context.name, _WAIT_SECONDS))
        except (RedisError, DBAPIError) as error:
            # What was taken and not done is queued again from Postgres.
            log.warning("warm lane: %s", error)
            context.stopping.wait(0.2)


def handle(context: Context, messages: list[str]) -> None:
    """Run the jobs; then take in labels that no job has taken in."""
    nudged = {int(message.removeprefix(warm.NUDGE)) for message in messages if message.startswith(warm.NUDGE)}
    for message in messages:
        if not message.startswith(warm.NUDGE):
            run_in(context, message)
    for project_id in nudged:
        freshen(context, project_id)


def _keep(context: Context) -> None:
    while not context.stopping.wait(warm.RENEW_SECONDS):
        try:
            for project_id in warm.renew(context.redis, context.name, context.live.projects()):
                log.info("project %d is kept warm by another worker now", project_id)
                context.live.drop(project_id)
        except RedisError as error:
            log.warning("warm leases: %s", error)


def close(context: Context, threads: list[threading.Thread]) -> None:
    """End the lane: what waits in the inbox goes to the common queue. Call when `stopping` is set."""
    try:
        left = warm.let_go(context.redis, context.name, context.live.projects())
        with context.sessions.begin() as session:
            found = [jobs.get(session, message) for message in left if not message.startswith(warm.NUDGE)]
        for job in found:
            if job is not None and job.status == "queued":
                queue.enqueue(context.redis, job.queue, job.id, job.attempt)
    except (RedisError, DBAPIError) as error:
        log.warning("the inbox could not be handed on: %s", error)
    for thread in threads:
        thread.join(20)
