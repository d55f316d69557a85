"""Waiting for jobs without holding a thread: workers announce every end on one channel.

An announcement is only a hint. Whoever waits looks into Postgres now and then as well, so a lost one costs a second.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service import tasks
from worker.queue import ENDED

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


class Endings:
    """One subscription per service process, shared by all requests that wait."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.told: Callable[[str], None] = lambda _: None  # of every end

    @contextlib.contextmanager
    def expecting(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the job's end is announced while the block runs."""
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block runs."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            await tasks.end(task)

    async def _listen(self) -> None:
        while True:
            try:
                async with Redis.from_url(self._url) as redis, redis.pubsub() as channel:
                    await channel.subscribe(ENDED)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._announce(message["data"].decode())
            except (RedisError, OSError) as error:
                log.warning("the ends of jobs are not announced now: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    def _announce(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()
        self.told(job_id)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set before so many seconds are over."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
