"""A worker waits for work as long as it takes: silence on the queue is no failure of its server."""

from service.settings import ServiceSettings
from worker import queue
from worker.main import listening
from worker.settings import WorkerSettings


def test_no_connection_gives_up_before_the_queue_has_looked_around(settings: ServiceSettings) -> None:
    given = WorkerSettings(**settings.model_dump(include=set(WorkerSettings.model_fields)))
    worker = listening(given, "worker-of-a-test", [queue.INTERACTIVE])()
    pool = worker.connection.connection_pool
    opened = pool.get_connection()
    try:
        assert (opened.socket_timeout or 0) > worker.dequeue_timeout
    finally:
        pool.release(opened)
        worker.connection.close()
