"""Work until told to stop, whatever becomes of the queue's server meanwhile."""

import logging
from collections.abc import Callable
from types import FrameType

from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.exceptions import StopRequested
from rq.worker_registration import REDIS_WORKER_KEYS

from worker import context
from worker.context import Context

log = logging.getLogger("worker")

_PAUSE_SECONDS = 0.2
_PAUSE_SECONDS_MAX = 2.0


class Worker(SimpleWorker):
    """RQ's in-process worker; a request to stop also reaches the job that runs, between its tiles."""

    # RQ doubles its pause up to a minute: too long for a server that was only started again.
    max_connection_wait_time = _PAUSE_SECONDS_MAX

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First signal: finish or put back what runs, then end."""
        context.current().stopping.set()
        try:
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        except RedisError as error:
            # Raised here it would land in the middle of the job: that nobody else hears of the stop is no harm.
            log.warning("the queue was not told of the stop: %s", error)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Also be on the list of workers again after the queue was wiped: health checks and metrics read it."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.sismember(REDIS_WORKER_KEYS, self.key):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        """Take leave of the queue's server; when that is away, at least leave no thread behind."""
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            log.warning("the queue is away: %s", error)
            if self.pubsub_thread is not None:
                self.pubsub_thread.stop()


def serve(context: Context, make: Callable[[], Worker], *, burst: bool) -> None:
    """Run the worker that `make` makes, again with a new one when the queue's server failed under it.

    RQ's own loop waits for the server only while it listens: an error at any other place ends it. The process must
    not end with it, for it holds the warm states.
    """
    pause = _PAUSE_SECONDS
    while not context.stopping.is_set():
        try:
            worker = make()
            # Of the same name and known to the server from before: without this it would refuse its double.
            context.redis.delete(worker.key)
            worker.work(burst=burst, logging_level="WARNING")
            if burst:
                return
            pause = _PAUSE_SECONDS
        except StopRequested:
            return
        except RedisError as error:
            log.warning("the queue is away: %s", error)
            if burst:
                raise
        if not context.stopping.is_set():
            log.warning("the queue's loop has ended: starting it again")
        _pause(context, pause)
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


def _pause(context: Context, seconds: float) -> None:
    try:
        context.stopping.wait(seconds)
    except StopRequested:
        context.stopping.set()
