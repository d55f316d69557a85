"""A worker waits for work as long as it takes: silence on the queue is no failure of its server."""

from rq.serializers import JSONSerializer

from service.settings import ServiceSettings
from worker import main, queue
from worker.settings import WorkerSettings


def test_no_connection_gives_up_before_the_queue_has_looked_around(settings: ServiceSettings) -> None:
    context = main.make_context(WorkerSettings(**settings.model_dump(include=set(WorkerSettings.model_fields))))
    try:
        # Opened before the queue's loop begins, as maintenance does: the loop may get this very connection.
        context.redis.ping()
        listening = main.Worker(
            [queue.queue(context.redis, queue.INTERACTIVE)],
            connection=context.redis,
            name=context.name,
            serializer=JSONSerializer,
            worker_ttl=main.TTL_SECONDS,
        )
        opened = context.redis.connection_pool.get_connection()
        assert (opened.socket_timeout or 0) > listening.dequeue_timeout
        context.redis.connection_pool.release(opened)
    finally:
        context.redis.close()
        context.sessions.kw["bind"].dispose()
