"""Progress of a long job, and the places where it can be stopped."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from store import jobs
from store.tables import Job
from worker import queue
from worker.context import Context
from worker.errors import CancelledError, ShuttingDownError

_WRITE_SECONDS = 0.5
BEAT_SECONDS = 1.0


class Reporter:
    """Counts tiles done; writes at most twice a second; raises where the job should stop."""

    def __init__(self, context: Context, job: Job) -> None:
        self._context = context
        self._job = job
        self._stage, self._done, self._total, self._unit = "starting", 0, 0, ""
        # The claim was written just now: most suggestions are made before there is news.
        self._written = self._began = time.monotonic()

    def stage(self, name: str, total: int = 0, unit: str = "") -> None:
        """Begin a stage of `total` units; without a total the counts stay. Raises as `check` does."""
        self.end_stage()
        self._stage = name
        if total:
            self._done, self._total, self._unit = 0, total, unit
        self._write()

    def end_stage(self) -> None:
        """The stage that ran is over: make it a span. Interactive jobs time theirs themselves, by stopwatch."""
        now = time.monotonic()
        if self._job.queue == queue.BULK and self._stage != "starting":
            self._context.tracing.record(self._stage, now - self._began)
        self._began = now

    def advance(self, units: int = 1) -> None:
        """Count units as done. Raises CancelledError, ShuttingDownError."""
        self._done += units
        self.check()

    def check(self) -> None:
        """A place to stop. Raises CancelledError, ShuttingDownError."""
        if self._context.stopping.is_set():
            raise ShuttingDownError
        if time.monotonic() - self._written >= _WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        with self._context.sessions.begin() as session:
            go_on = jobs.report(
                session, self._job, stage=self._stage, done=self._done, total=self._total, unit=self._unit
            )
        if not go_on:
            raise CancelledError


@contextmanager
def heartbeat(context: Context, job: Job) -> Iterator[None]:
    """Say every second that the job is alive, also while one tile takes long."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                with context.sessions.begin() as session:
                    jobs.beat(session, job)
            except SQLAlchemyError:
                continue  # The database is away: the job itself will notice where it matters.

    thread = threading.Thread(target=beat, name=f"heartbeat-{job.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
