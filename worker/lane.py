"""The warm lane: threads that serve this worker's inbox while its main thread serves the common queues.

So a labeler whose project is warm never waits for another project's state to be loaded, and a request takes two
round trips through Redis instead of a dozen.
"""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from store import jobs
from store.database import is_away
from worker import queue, warm
from worker.catch_up import freshen, together
from worker.context import Context
from worker.jobs import run_in

log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0
# Projects that are served at the same time; one that is being loaded elsewhere in this worker waits in one of them.
PROJECTS_AT_ONCE = 3


class Lane:
    """Serves an inbox and keeps the leases of this worker, in threads of its own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._guard = threading.Lock()
        self._waiting: dict[int, list[str]] = {}  # by project, of those that are being served
        self._pool = ThreadPoolExecutor(PROJECTS_AT_ONCE, "warm-lane")
        self._threads = [
            threading.Thread(target=self._listen, name="warm-inbox", daemon=True),
            threading.Thread(target=_keep, args=(context,), name="warm-leases", daemon=True),
        ]
        context.serves_inbox = True
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        context = self._context
        while not context.stopping.is_set():
            try:
                for project_id, job_id in warm.take(context.redis, context.name, _WAIT_SECONDS):
                    self._put(project_id, job_id)
            except RedisError as error:
                log.warning("warm lane: %s", error)
                context.stopping.wait(0.2)

    def _put(self, project_id: int, job_id: str) -> None:
        """In order within a project, and next to each other across projects."""
        with self._guard:
            served = project_id in self._waiting
            self._waiting.setdefault(project_id, []).append(job_id)
        if not served:
            self._pool.submit(self._serve, project_id)

    def _serve(self, project_id: int) -> None:
        while True:
            with self._guard:
                job_ids = self._waiting[project_id]
                if not job_ids or self._context.stopping.is_set():
                    # What is not done is queued again from Postgres.
                    del self._waiting[project_id]
                    return
                self._waiting[project_id] = []
            try:
                _handle(self._context, project_id, job_ids)
            except Exception as error:
                # The project would never be served again: whatever it was, the next request may fare better.
                log.warning("warm lane, project %d: %s", project_id, error, exc_info=not is_away(error))

    def close(self) -> None:
        """End the lane: what waits in the inbox goes to the common queue. Call when `stopping` is set."""
        context = self._context
        try:
            left = warm.let_go(context.redis, context.name, context.live.projects())
            with context.sessions.begin() as session:
                found = [jobs.get(session, job_id) for _, job_id in left if job_id != warm.LABELS]
            for job in found:
                if job is not None and job.status == "queued":
                    queue.enqueue(context.redis, job.queue, job.id, job.attempt)
        except (RedisError, DBAPIError) as error:
            log.warning("the inbox could not be handed on: %s", error)
        self._pool.shutdown(wait=True)
        for thread in self._threads:
            thread.join(5)


def _handle(context: Context, project_id: int, job_ids: list[str]) -> None:
    """Run the jobs, which take in all labels so far; without any, take them in ahead of the next."""
    waiting = [job_id for job_id in job_ids if job_id != warm.LABELS]
    with together():
        for job_id in waiting:
            run_in(context, job_id)
    if not waiting:
        freshen(context, project_id)


def _keep(context: Context) -> None:
    while not context.stopping.wait(warm.RENEW_SECONDS):
        try:
            for project_id in warm.renew(context.redis, context.name, context.live.projects()):
                log.info("project %d is kept warm by another worker now", project_id)
                context.live.drop(project_id)
        except RedisError as error:
            log.warning("warm leases: %s", error)
