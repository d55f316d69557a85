"""The live states of one worker: bounded in memory, one thread at a time per project."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from store.errors import StaleStateError
from worker.context import Context
from worker.live import Live
from worker.loading import load
from worker.metrics import Instruments


class LiveStates:
    """Live states by kernel state id; the least recently used is dropped past `max_bytes`.

    Threads share it: `alone` keeps them off each other's project.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.metrics = Instruments()  # the context that has us gives us its own
        self._states: OrderedDict[int, Live] = OrderedDict()
        self._losses = 0
        self._guard = threading.Lock()
        self._projects: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def alone(self, project_id: int) -> Iterator[None]:
        """One thread at a time per project."""
        with self._guard:
            lock = self._projects[project_id]
        with lock:
            yield

    def idle(self, project_id: int) -> bool:
        """Whether the project is warm here and no thread uses it."""
        with self._guard:
            return not self._projects[project_id].locked() and project_id in self._held()

    def busy(self) -> bool:
        """Whether any thread uses a live state now."""
        with self._guard:
            return any(lock.locked() for lock in self._projects.values())

    def heed(self, losses: int) -> None:
        """Forget everything when the database has lost connections since the last time.

        A server that was started again may be without commits that these states rest on.
        """
        with self._guard:
            if losses != self._losses:
                self._losses = losses
                for state_id in list(self._states):
                    self._forget(state_id, "database")

    @contextmanager
    def use(self, context: Context, state_id: int) -> Iterator[Live]:
        """The live state, loaded if need be. Any exception drops it: it may be half-changed."""
        with self._guard:
            live, losses = self._states.pop(state_id, None), self._losses
        if live is None:
            with self.metrics.load_seconds.time():
                live = load(context, state_id)
        try:
            yield live
        except BaseException as error:
            # Not put back: the next request loads what Postgres has.
            self.metrics.dropped(live.project_id, "overtaken" if isinstance(error, StaleStateError) else "failed")
            raise
        with self._guard:
            self._states[state_id] = live
            self.metrics.kept(live.project_id, live.standing)
            if losses == self._losses:
                self._shrink(live)
            else:
                self._forget(state_id, "database")

    def applied_seq(self, state_id: int) -> int | None:
        """How far the live state is, or None if it is not loaded."""
        live = self._states.get(state_id)
        return None if live is None else live.applied_seq

    def make_room(self, needed: int) -> None:
        """Drop states that wait until so many bytes more fit; one that is being loaded or changed is not among them."""
        with self._guard:
            while self._states and sum(live.nbytes for live in self._states.values()) + needed > self.max_bytes:
                self._forget(next(iter(self._states)), "memory")

    def keeps(self, live: Live) -> bool:
        """Whether this very state is still the one that is kept."""
        return self._states.get(live.state_id) is live

    def projects(self) -> list[int]:
        """The projects that are warm here, or are being loaded or used."""
        with self._guard:
            busy = {project_id for project_id, lock in self._projects.items() if lock.locked()}
            return sorted(self._held() | busy)

    def drop(self, project_id: int, reason: str = "elsewhere") -> None:
        """Forget a project that another worker keeps warm now, or that is there no more."""
        with self._guard:
            for state_id, live in list(self._states.items()):
                if live.project_id == project_id:
                    self._forget(state_id, reason)

    def _forget(self, state_id: int, reason: str) -> None:
        self.metrics.dropped(self._states.pop(state_id).project_id, reason)

    def _held(self) -> set[int]:
        return {live.project_id for live in self._states.values()}

    def _shrink(self, used: Live) -> None:
        # A project has one active state: what it had before is never asked for again.
        for state_id, live in list(self._states.items()):
            if live.project_id == used.project_id and live is not used:
                self._forget(state_id, "replaced")
                self.metrics.kept(used.project_id, used.standing)
        while len(self._states) > 1 and sum(live.nbytes for live in self._states.values()) > self.max_bytes:
            self._forget(next(iter(self._states)), "memory")
