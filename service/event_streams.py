"""Server-sent events: streams with bounded queues, without a thread each, that end when the server does."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api_schemas.jobs import Job
from service.caller import Caller
from service.endings import set_within
from service.protocol import EXTENSION, Connection

KEEP_ALIVE_SECONDS = 15.0
# Events that a reader may be behind, beside the snapshot it began with.
BEHIND_MAX = 512
MEDIA_TYPE = "text/event-stream"
_HEADERS = {
    "Cache-Control": "no-store",
    # Proxies are to pass on each event as it comes.
    "X-Accel-Buffering": "no",
}


def event(name: str, data: str) -> str:
    """One event; the data is JSON, which has no line breaks of its own."""
    return f"event: {name}\ndata: {data}\n\n"


class Listener:
    """One stream: whose it is, what it wants, and what it has not read yet."""

    def __init__(self, caller: Caller, *, project: str | None = None, job: str | None = None) -> None:
        self.caller = caller
        self.project = project
        self.job = job
        self._pending: deque[str] = deque()
        self._most = BEHIND_MAX
        self._news = asyncio.Event()
        self._ended = False
        self._abort: Callable[[], None] = lambda: None

    def wants_project(self, name: str) -> bool:
        """Whether it may and wants to hear of a project."""
        return self.job is None and self.project in (None, name) and self.caller.sees(name)

    def wants_job(self, job: Job) -> bool:
        """Whether it may and wants to hear of a job."""
        if self.job is not None:
            return self.job == job.id
        return self.wants_project(job.project)

    def begin(self, snapshot: Sequence[str]) -> None:
        """Queue what the stream starts with, however much that is."""
        self._most = BEHIND_MAX + len(snapshot)
        self._pending.extend(snapshot)
        self._news.set()

    def put(self, *texts: str) -> None:
        """Queue what came at once; a reader that was too far behind is dropped, and may begin anew with a snapshot."""
        if self._ended or not texts:
            return
        # Before these are counted: they may be many, and nobody could have read any of them yet.
        if len(self._pending) >= self._most:
            self.end()
            self._pending.clear()
            self._abort()
            return
        self._pending.extend(texts)
        self._news.set()

    def end(self) -> None:
        """The stream ends once what is queued has been sent."""
        self._ended = True
        self._news.set()

    async def events(self) -> AsyncIterator[str]:
        """What comes, until the end; a comment now and then, so that nothing in between takes the stream for dead."""
        while True:
            while self._pending:
                yield self._pending.popleft()
            if self._ended:
                return
            self._news.clear()
            if not await set_within(self._news, KEEP_ALIVE_SECONDS):
                yield ": still here\n\n"

    def attach(self, connection: Connection | None) -> None:
        """Heed the connection that the stream goes over."""
        if connection is None:
            return
        self._abort = connection.abort
        connection.when_closing.add(self.end)
        if connection.closing:
            self.end()


class EventStream(StreamingResponse):
    """An answer that lasts as long as its listener: `join` begins it, `leave` is called however it ends."""

    def __init__(
        self,
        listener: Listener,
        body: AsyncIterator[str],
        join: Callable[[Listener], None],
        leave: Callable[[Listener], None],
    ) -> None:
        super().__init__(body, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._listener, self._join, self._leave = listener, join, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        connection: Any = (scope.get("extensions") or {}).get(EXTENSION)
        self._listener.attach(connection)
        self._join(self._listener)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave(self._listener)
            if connection is not None:
                connection.when_closing.discard(self._listener.end)
