"""The queue: names, enqueue by job id, and the signal that a job has ended. No torch, no store.

Everything here may be lost with Redis at any time: jobs live in Postgres and are enqueued again from there.
"""

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

BULK = "bulk"
INTERACTIVE = "interactive"
QUEUES = (BULK, INTERACTIVE)
FUNCTION = "worker.jobs.run"

# RQ's own limit; jobs stop themselves between tiles long before, and Postgres decides about retries.
_TIMEOUT_SECONDS = {BULK: 24 * 3600, INTERACTIVE: 3600}
# Workers publish the id of every job that has ended here.
ENDED = "lookahead:ended"


def connect(url: str, *, silence_seconds: float = 5.0) -> Redis:
    """A client; nothing is opened before the first use. A command that gets no answer for so long has failed."""
    return Redis.from_url(url, health_check_interval=30, socket_timeout=silence_seconds, socket_connect_timeout=5.0)


def queue(redis: Redis, name: str) -> Queue:
    """One of the two queues, with JSON payloads: nothing is ever unpickled."""
    return Queue(name, connection=redis, serializer=JSONSerializer, default_timeout=_TIMEOUT_SECONDS[name])


def enqueue(redis: Redis, name: str, job_id: str, attempt: int = 0, *, by_anyone: bool = False) -> None:
    """Tell the workers of a queue that a job is there. Call after the job's row is committed.

    With `by_anyone`, whoever takes it runs it, even if another worker keeps the project warm.
    """
    queue(redis, name).enqueue_call(
        FUNCTION,
        args=(job_id, by_anyone),
        job_id=_queue_id(job_id, attempt),
        result_ttl=0,
        failure_ttl=60,
        ttl=24 * 3600,
    )


def waiting(redis: Redis, name: str) -> set[tuple[str, int]]:
    """(job id, attempt) of all that wait in a queue. What a worker took and did not claim is not among them."""
    ids = (entry.rpartition("-") for entry in queue(redis, name).get_job_ids())
    return {(job_id, int(attempt)) for job_id, _, attempt in ids}


def _queue_id(job_id: str, attempt: int) -> str:
    # A name per attempt: what the queue remembers of a dead worker's attempt must not touch the next one.
    return f"{job_id}-{attempt}"


def signal_end(redis: Redis, job_id: str) -> None:
    """Tell whoever waits for the job. Only a hint: the outcome is in Postgres."""
    redis.publish(ENDED, job_id)
