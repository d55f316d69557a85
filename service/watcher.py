"""Watches the deployment for all event streams of this process: one look a second while anybody listens.

Ends of jobs are announced by the workers and told at once; everything else is noticed by comparing two looks.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from api_schemas.events import ProjectEvent
from api_schemas.jobs import Job
from service import tasks
from service.caller import Caller
from service.context import Context
from service.endings import set_within
from service.event_streams import Listener, event
from service.operations.jobs import described
from service.operations.workers import Seen, look
from service.problems import TooManyError
from store import states, watching
from store.watching import SeenJob
from telemetry.snapshots import Publisher

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
WORKERS_SECONDS = 2.0
# Workers are told of this often even if only their heartbeats have changed.
_WORKERS_ANYWAY_SECONDS = 10.0
_KEYS_SECONDS = 5.0
_ENDS_SECONDS = 0.2  # ends that are announced within so much time are looked up together
_ENDS_MAX = 200
_MEMORY_STEP = 16 << 20


@dataclass
class _Look:
    """What one look found."""

    jobs: dict[str, Job] = field(default_factory=dict)
    ended: list[Job] = field(default_factory=list)
    projects: dict[str, ProjectEvent] = field(default_factory=dict)
    workers: Seen | None = None
    dead_keys: set[int] = field(default_factory=set)


class _News:
    """Jobs and projects, each with the event that tells of it: made once for all listeners."""

    def __init__(self, jobs: Iterable[Job], projects: Iterable[ProjectEvent] = ()) -> None:
        self.jobs = [(job, event("job", job.model_dump_json())) for job in jobs]
        self.projects = [(one.project, event("project", one.model_dump_json())) for one in projects]


def _wanted(listener: Listener, news: _News) -> list[str]:
    return [
        *(text for job, text in news.jobs if listener.wants_job(job)),
        *(text for name, text in news.projects if listener.wants_project(name)),
    ]


class Watcher:
    """Looks for everybody, and tells each listener what it may know."""

    def __init__(self, context: Context, publisher: Publisher) -> None:
        self._context = context
        self._publisher = publisher
        self._most = context.settings.lookahead_event_streams
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._announced = asyncio.Event()
        self._ends: set[str] = set()
        self._seen = _Look()
        self._next_look = self._next_workers = self._next_keys = self._workers_told = 0.0
        context.endings.told = self._hear

    def count(self) -> int:
        """Streams that are open."""
        return len(self._listeners)

    async def ready(self, caller: Caller) -> None:
        """Make sure that there is room for a stream, and something to begin it with.

        Raises TooManyError `too_many_streams`, DBAPIError.
        """
        self._check_room(caller)
        if not self._runs():
            async with self._looking:
                if time.monotonic() >= self._next_look:
                    await self._look(raising=True)
            # Others have come while we looked.
            self._check_room(caller)

    def _check_room(self, caller: Caller) -> None:
        held = Counter(listener.caller.key_id for listener in self._listeners)
        mine = self._most if caller.key_id is None else max(1, self._most // 2)
        if len(self._listeners) >= self._most or held[caller.key_id] >= mine:
            raise TooManyError(
                "too_many_streams",
                f"{min(mine, self._most)} streams of events are open: close one, or ask again later",
                headers={"Retry-After": "10"},
            )

    def join(self, listener: Listener) -> None:
        """Begin with a snapshot of what stands, and go on with what changes."""
        if listener.job is None:
            snapshot = _wanted(listener, _News(self._seen.jobs.values(), self._seen.projects.values()))
            if self._seen.workers is not None:
                snapshot.append(event("workers", self._seen.workers.by(listener.caller).model_dump_json()))
            listener.begin(snapshot)
        self._listeners.add(listener)
        if not self._runs():
            self._task = asyncio.create_task(self._run())

    def leave(self, listener: Listener) -> None:
        """The stream is over."""
        self._listeners.discard(listener)

    async def close(self) -> None:
        """End every stream."""
        for listener in list(self._listeners):
            listener.end()
        if self._task is not None:
            await tasks.end(self._task)

    def _runs(self) -> bool:
        return self._task is not None and not self._task.done()

    def _hear(self, job_id: str) -> None:
        # Beyond this many the next look tells of those that it knew.
        if self._listeners and len(self._ends) < _ENDS_MAX:
            self._ends.add(job_id)
            self._announced.set()

    async def _run(self) -> None:
        while self._listeners:
            try:
                await self._turn()
            except Exception as error:
                # Streams would go silent for good: whatever it was, the next look may fare better.
                log.warning("live events: %s", error, exc_info=error)
                await asyncio.sleep(LOOK_SECONDS)

    async def _turn(self) -> None:
        announced = await set_within(self._announced, max(0.0, self._next_look - time.monotonic()))
        async with self._looking:
            if announced:
                await self._tell_ends()
            if time.monotonic() >= self._next_look:
                await self._look()
        if announced:
            await asyncio.sleep(_ENDS_SECONDS)

    async def _tell_ends(self) -> None:
        self._announced.clear()
        ids, self._ends = self._ends, set()
        try:
            ended = await run_in_threadpool(self._read_jobs, ids)
            for job in ended:
                self._seen.jobs.pop(job.id, None)
            self._tell_news(_News(ended))
        except DBAPIError as error:
            log.info("ends of jobs could not be looked up: %s", type(error).__name__)

    async def _look(self, *, raising: bool = False) -> None:
        now = time.monotonic()
        self._next_look = now + LOOK_SECONDS
        try:
            found = await run_in_threadpool(self._read, now)
        except DBAPIError as error:
            if raising:
                raise
            log.info("the database could not be looked at: %s", type(error).__name__)
            return
        self._tell(found, now)

    # In a thread

    def _read(self, now: float) -> _Look:
        found = _Look()
        with self._context.sessions.begin() as session:
            for seen in watching.open_jobs(session):
                found.jobs[seen.job.id] = _job(seen)
            gone = [job_id for job_id in self._seen.jobs if job_id not in found.jobs]
            found.ended = [_job(seen) for seen in watching.jobs_by_id(session, gone[:_ENDS_MAX])]
            for standing in watching.projects(session, self._names()):
                found.projects[standing.project] = _project(standing)
            if now >= self._next_keys:
                self._next_keys = now + _KEYS_SECONDS
                held = {listener.caller.key_id for listener in list(self._listeners)} - {None}
                ids = {key_id for key_id in held if key_id is not None}
                found.dead_keys = ids - watching.live_keys(session, ids)
        if now >= self._next_workers:
            self._next_workers = now + WORKERS_SECONDS
            with contextlib.suppress(RedisError):
                found.workers = look(self._context, self._publisher)
        return found

    def _names(self) -> set[str] | None:
        """The projects that anybody here may hear of; None for all."""
        names: set[str] = set()
        for listener in list(self._listeners):
            if listener.job is not None:
                continue
            if listener.project is not None:
                names.add(listener.project)
            elif listener.caller.projects is None:
                return None
            else:
                names |= listener.caller.projects
        # Before the first listener joins, nobody knows yet what it will want.
        return names if self._listeners else None

    def _read_jobs(self, ids: Iterable[str]) -> list[Job]:
        with self._context.sessions.begin() as session:
            return [_job(seen) for seen in watching.jobs_by_id(session, list(ids))]

    # Telling

    def _tell(self, found: _Look, now: float) -> None:
        before, self._seen = self._seen, found
        for listener in list(self._listeners):
            if listener.caller.key_id in found.dead_keys:
                listener.end()
        jobs = (*found.ended, *(job for job in found.jobs.values() if before.jobs.get(job.id) != job))
        projects = (one for name, one in found.projects.items() if before.projects.get(name) != one)
        self._tell_news(_News(jobs, projects))
        # A project that nobody wanted to hear of meanwhile is told anew to who comes.
        if found.workers is None:
            found.workers = before.workers
        elif _marks(found.workers) != _marks(before.workers) or now >= self._workers_told + _WORKERS_ANYWAY_SECONDS:
            self._workers_told = now
            self._tell_workers(found.workers)

    def _tell_news(self, news: _News) -> None:
        for listener in list(self._listeners):
            listener.put(*_wanted(listener, news))

    def _tell_workers(self, seen: Seen) -> None:
        made: dict[frozenset[str] | None, str] = {}
        for listener in list(self._listeners):
            if listener.job is not None:
                continue
            projects = listener.caller.projects
            if projects not in made:
                made[projects] = event("workers", seen.by(listener.caller).model_dump_json())
            listener.put(made[projects])


def _job(seen: SeenJob) -> Job:
    return described(seen.job, seen.project, seen.queue_position, seen.result)


def _project(standing: watching.Standing) -> ProjectEvent:
    return ProjectEvent(
        project=standing.project,
        label_seq=standing.label_seq,
        pool_version=standing.pool_version,
        kernel=None if standing.state_id is None else states.public_id(standing.state_id),
        applied_seq=standing.applied_seq,
        open_suggestions=standing.open_suggestions,
    )


def _marks(seen: Seen | None) -> object:
    """What of the workers is news; heartbeats and ages move all the time."""
    if seen is None:
        return None
    told = seen.answer.model_dump(
        exclude={
            "workers": {"__all__": {"heartbeat_seconds", "memory_bytes"}},
            "queues": {"__all__": {"oldest_seconds"}},
        }
    )
    return told, [(worker.memory_bytes or 0) // _MEMORY_STEP for worker in seen.answer.workers]
