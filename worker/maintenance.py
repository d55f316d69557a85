"""What keeps jobs moving when a worker or the queue is lost: Postgres knows what should run.

Every worker sweeps; whoever is first does what is to be done, and a second finds nothing left. No clock is compared
with another, the database's or a machine's: what counts is what has not changed between this process's own looks.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError

from store import jobs, states
from store.database import is_away
from store.jobs import Pulse, Waiting
from store.tables import Job
from worker import identity, queue, removal, tidying, warm
from worker.context import Context
from worker.label_studio import schedule
from worker.progress import BEAT_SECONDS

log = logging.getLogger(__name__)

SILENT_SECONDS = 5 * BEAT_SECONDS
# On this host a worker that is silent and still there is more likely starved by the machine's load than hung.
SILENT_HERE_SECONDS = 30 * BEAT_SECONDS
# A job may wait this long for the worker that has its project warm; then any other will do.
FAITHFUL_SECONDS = 10.0
EVERY_SECONDS = 1.0


class Silence:
    """How long each running job has said nothing, as far as this process was there to listen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked = clock()
        self._seconds: dict[Pulse, float] = {}

    def heard(self, pulses: Sequence[Pulse]) -> dict[Pulse, float]:
        """Take in a look at all running jobs; returns for how many seconds each has been silent."""
        now = self._clock()
        # While this process, the machine or the database stood still, workers could not be heard either.
        passed, self._looked = min(now - self._looked, 2 * EVERY_SECONDS), now
        self._seconds = {pulse: self._seconds[pulse] + passed if pulse in self._seconds else 0.0 for pulse in pulses}
        return self._seconds


class Sweeper:
    """Looks, remembers what it saw, and acts on what stays wrong from one look to the next."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._silence = Silence(clock)
        self._missing: set[Waiting] = set()
        self._in_inbox: dict[Waiting, float] = {}

    def sweep(self) -> int:
        """Queue again what was lost; returns how many jobs were. Raises OperationalError, RedisError."""
        return self._release() + self._fill()

    def _release(self) -> int:
        """Take jobs from workers that are gone."""
        with self._context.sessions.begin() as session:
            pulses = jobs.running(session)
        again = 0
        for pulse, silent in self._silence.heard(pulses).items():
            if reason := _lost(pulse.worker or "", silent):
                log.warning("job %s: its worker %s %s", pulse.job_id, pulse.worker, reason)
                again += self._take(pulse)
        return again

    def _take(self, pulse: Pulse) -> bool:
        with self._context.sessions.begin() as session:
            job = jobs.release(session, pulse)
            if job is not None and job.status != "queued":
                states.abandon(session, job.id)
        if job is None:
            return False
        if job.status == "queued":
            queue.enqueue(self._context.redis, job.queue, job.id, job.attempt)
            return True
        log.warning("job %s has %s: %s", job.id, job.status, _reason(job))
        queue.signal_end(self._context.redis, job.id)
        return False

    def _fill(self) -> int:
        """Enqueue what waits in Postgres and in no queue.

        A job may be missing at one look: its row is committed just before it is enqueued, and taken just before it
        is claimed. Missing twice, it was lost, with the queue or with the worker that took it.
        """
        with self._context.sessions.begin() as session:
            waiting = jobs.queued(session)
        known = {name: queue.waiting(self._context.redis, name) for name in {entry.queue for entry in waiting}}
        missing = [entry for entry in waiting if (entry.job_id, entry.attempt) not in known[entry.queue]]
        missing = self._not_in_inboxes(missing)
        lost = [entry for entry in missing if entry in self._missing]
        self._missing = set(missing).difference(lost)
        for entry in lost:
            # What has waited too long for the worker that keeps its project warm must not be handed back to it.
            by_anyone = entry in self._in_inbox
            queue.enqueue(self._context.redis, entry.queue, entry.job_id, entry.attempt, by_anyone=by_anyone)
            log.warning("job %s was in no queue any more: enqueued again", entry.job_id)
        return len(lost)

    def _not_in_inboxes(self, entries: list[Waiting]) -> list[Waiting]:
        """Without those that wait, not for too long yet, for the worker that keeps their project warm."""
        redis, now = self._context.redis, self._clock()
        for project_id in {entry.project_id for entry in entries}:
            holder = warm.holder(redis, project_id)
            if holder is not None and identity.is_dead(holder):
                log.warning("project %d was kept warm by %s, which has ended", project_id, holder)
                warm.let_go(redis, holder, [project_id])
        inside = {entry for entry in entries if warm.waits(redis, entry.project_id, entry.job_id)}
        self._in_inbox = {entry: self._in_inbox.get(entry, now) for entry in inside}
        return [entry for entry in entries if entry not in inside or now - self._in_inbox[entry] >= FAITHFUL_SECONDS]


def _lost(worker: str, silent: float) -> str | None:
    """Why a worker that has been silent for so many seconds is given up; None if it is not."""
    if identity.is_dead(worker):
        return "has ended"
    patience = SILENT_HERE_SECONDS if identity.is_running(worker) else SILENT_SECONDS
    return "is silent" if silent >= patience else None


def _reason(job: Job) -> str:
    return "its worker is gone" if job.error is None else str(job.error["detail"])


def start(context: Context) -> threading.Thread:
    """Sweep every second until the worker stops."""

    def loop() -> None:
        sweeper = Sweeper(context)
        while True:
            try:
                sweeper.sweep()
                tidying.tidy(context)
                schedule.start_due(context)
                removal.sweep(context)
            except RedisError as error:
                log.warning("the queue is away, sweeping again soon: %s", error)
            except Exception as error:
                # Nothing else would bring lost jobs back: whatever goes wrong once must not end this thread.
                log.warning("sweep failed, trying again: %s", error, exc_info=not is_away(error))
            if context.stopping.wait(EVERY_SECONDS):
                return

    thread = threading.Thread(target=loop, name="maintenance", daemon=True)
    thread.start()
    return thread
