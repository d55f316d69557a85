"""The deployment under test: the embedded one, as `lookahead up` runs it, with a second interactive worker."""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks.soak import schedule
from embedded.process import command_of
from embedded.supervisor import Child, Supervisor
from worker.identity import alive

_NOT_OURS = ("DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "LOOKAHEAD_AUTH", "LOOKAHEAD_HOME")


def _worker(queue: str) -> list[str]:
    return [sys.executable, "-m", "worker", "--queues", queue]


class Deployment:
    """Starts with the block and ends with it; `watch` restarts what dies, and must run in the thread that entered."""

    def __init__(self, home: Path, seed: int, say: Callable[[str], None]) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
        # Three workers and eight clients share the processors: none may take them all.
        environment.setdefault("LOOKAHEAD_THREADS", "1")
        self.home = home
        self.children = [
            Child(schedule.SERVICE, [sys.executable, "-m", "service"]),
            Child(schedule.BULK, _worker("bulk"), nice=10),
            *(Child(name, _worker("interactive")) for name in schedule.INTERACTIVE),
        ]
        # These deaths are ours: they are no sign of a child that cannot live.
        self.supervisor = Supervisor(
            home, port=0, environment=environment, children=self.children, say=say, give_up_after=0
        )
        self._random = random.Random(f"connections {seed}")
        self.seen: set[int] = set()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self.supervisor.url

    @property
    def database_url(self) -> str:
        """Of the database behind it."""
        return self.supervisor.environment["DATABASE_URL"]

    def pids(self) -> dict[str, int]:
        """The process of each part that runs."""
        found = {c.name: c.process.pid for c in self.children if c.process is not None and c.process.poll() is None}
        for server in self.supervisor._servers:
            if server.alive() and server.pid is not None:
                found[server.name] = server.pid
        self.seen |= set(found.values())
        return found

    def strike(self, part: str) -> int | None:
        """Kill a part, or empty Redis; returns the process that must be replaced, if any."""
        if part == schedule.FLUSH:
            with redis.Redis.from_url(self.supervisor.environment["REDIS_URL"]) as client:
                client.flushall()
            return None
        pids = self.pids()
        if part == schedule.CONNECTION:
            serving = [pid for pid in children_of(pids[schedule.POSTGRES]) if _serves_a_client(pid)]
            if serving:
                _kill(self._random.choice(serving))
            return None
        _kill(pids[part])
        return pids[part]

    def replaced(self, part: str, killed: int | None) -> bool:
        """Whether another process runs where one was killed."""
        return killed is None or self.pids().get(part, killed) != killed

    def leftovers(self) -> list[str]:
        """Processes of this deployment that still run: to ask once it has stopped."""
        return [f"{pid}: {' '.join(command_of(pid))[:120]}" for pid in self.belonging()]

    def belonging(self) -> list[int]:
        """Processes that work on our home folder, by command line, folder or environment; never this one."""
        mark = str(self.home).encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            if pid not in (os.getpid(), os.getppid()) and alive(pid) and _mentions(entry, mark):
                found.append(pid)
        return found

    def kill_all(self) -> None:
        """The last resort of a run that must end."""
        for pid in self.belonging():
            _kill(pid)


def _mentions(process: Path, mark: bytes) -> bool:
    with contextlib.suppress(OSError):
        if mark in (process / "environ").read_bytes():
            return True
    with contextlib.suppress(OSError):
        return mark in os.readlink(os.fsencode(process / "cwd"))
    return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _serves_a_client(pid: int) -> bool:
    return command_of(pid)[:1] != [] and command_of(pid)[0].startswith("postgres: app ")


def children_of(parent: int) -> list[int]:
    """Processes whose parent this is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
    return found


def wait(condition: Callable[[], bool], seconds: float, stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether the condition came true in time, and before `stop` did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if stop() or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
