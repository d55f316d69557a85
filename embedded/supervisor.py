"""Everything on one machine: servers, migrations, service and workers, started and stopped in order."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from embedded.errors import StartError, StopRequested
from embedded.process import python_environment, run, spawn, stop, tail, wait_until
from embedded.servers import Postgres, Server, Valkey

READY_SECONDS = 90.0
ENDS_MAX = 5
ENDS_WITHIN_SECONDS = 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Child:
    """A process to keep running, at a lower priority where `nice` says so."""

    name: str
    command: Sequence[str]
    nice: int = 0
    stop_seconds: float = 15.0
    process: subprocess.Popen[bytes] | None = None
    ends: deque[float] = field(default_factory=deque)


def default_children() -> list[Child]:
    """The service, one bulk and one interactive worker."""
    # A labeler who waits comes before a window in the making: the bulk worker yields the processor.
    return [
        Child("service", [sys.executable, "-m", "service"]),
        Child("worker-bulk", [sys.executable, "-m", "worker", "--queues", "bulk"], nice=10),
        Child("worker-interactive", [sys.executable, "-m", "worker", "--queues", "interactive"]),
    ]


class Supervisor:
    """Context manager: inside the block `url` answers; `watch()` keeps the children running."""

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8000,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
        children: list[Child] | None = None,
        say: Callable[[str], None] = lambda line: None,
        migrate: bool = True,
    ) -> None:
        """`port` 0 takes any free one. `say` gets one line per thing that happened."""
        self.home = home.resolve()
        self.host = host
        self.port = port
        self._given = dict(os.environ if environment is None else environment)
        self._children = default_children() if children is None else children
        self._say = say
        self._migrate = migrate
        self._servers: list[Server] = []
        self._lock: IO[str] | None = None
        self.environment: dict[str, str] = {}
        self.stopping = False

    @property
    def url(self) -> str:
        """Where the service answers."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - asked for, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def watch(self) -> None:
        """Restart children that die, until `stopping` is set. Raises StartError when one keeps dying."""
        while not self.stopping:
            for server in self._servers:
                if not server.alive():
                    self._say(f"{server.name} ended unexpectedly: starting it again")
                    server.start()
            for child in self._children:
                self._revive(child)
            time.sleep(0.2)

    def request_stop(self) -> None:
        """Ask for a stop in order, now or during the start. For signal handlers."""
        self.stopping = True

    def child(self, name: str) -> Child:
        """A child by name."""
        return next(child for child in self._children if child.name == name)

    # Starting

    def _start(self) -> None:
        if self._given.get("LOOKAHEAD_AUTH", "off") == "off" and self.host not in LOOPBACK:
            raise StartError(
                f"Refusing to listen on {self.host} without keys: set LOOKAHEAD_AUTH=on, or use 127.0.0.1."
            )
        self._take_home()
        self._take_port()
        self.environment = python_environment(self._given) | {
            "LOOKAHEAD_HOME": str(self.home),
            "LOOKAHEAD_AUTH": self._given.get("LOOKAHEAD_AUTH", "off"),
            "HOST": self.host,
            "PORT": str(self.port),
            "ARTIFACTS_URL": self._given.get("ARTIFACTS_URL", f"file://{self.home}/artifacts"),
            "DATABASE_URL": self._server_url("DATABASE_URL", Postgres),
            "REDIS_URL": self._server_url("REDIS_URL", Valkey),
            "PYTHONUNBUFFERED": "1",
        }
        if self._migrate:
            log = self._log("migrations")
            if run(spawn([sys.executable, "-m", "migrations"], log, environment=self.environment)) != 0:
                self._heed()
                raise StartError(f"The database could not be migrated. The end of {log}:\n{tail(log)}")
        for child in self._children:
            self._heed()
            self._launch(child)
        self._wait_ready()

    def _heed(self) -> None:
        if self.stopping:
            raise StopRequested

    def _take_home(self) -> None:
        try:
            (self.home / "logs").mkdir(parents=True, exist_ok=True)
            lock = (self.home / "lock").open("a+")
        except OSError as error:
            raise StartError(
                f"The data folder {self.home} cannot be used ({error.strerror}): choose another with LOOKAHEAD_HOME."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StartError(
                f"Lookahead already runs on {self.home} (process {holder}): use it, stop it, "
                "or choose another folder with LOOKAHEAD_HOME."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _take_port(self) -> None:
        if not 0 <= self.port <= 65535:
            raise StartError(f"{self.port} is no port: choose one from 1 to 65535 with PORT.")
        try:
            family, kind, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                # Without this, a port whose last connections are still closing would count as taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                self.port = probe.getsockname()[1]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartError(
                    f"Port {self.port} is taken by another program: stop it or choose another with "
                    f"PORT={self.port + 1 if self.port < 65535 else 8000} make up."
                ) from error
            raise StartError(
                f"Cannot listen on {self.host}, port {self.port} ({error.strerror}): choose others with HOST and PORT."
            ) from error

    def _server_url(self, variable: str, kind: type[Server]) -> str:
        if given := self._given.get(variable):
            self._say(f"{kind.name}: using {variable}")
            return given
        self._heed()
        server = kind(self.home)
        self._servers.append(server)  # first, so that an interrupted start is stopped too
        started = time.monotonic()
        try:
            server.start()
        except StartError:
            self._heed()
            raise
        self._say(f"{kind.name} ready ({time.monotonic() - started:.1f} s)")
        return server.url

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _launch(self, child: Child) -> None:
        child.process = spawn(child.command, self._log(child.name), environment=self.environment, nice=child.nice)

    def _wait_ready(self) -> None:
        def settled() -> bool:
            return (
                self.stopping
                or self._answers()
                or any(c.process and c.process.poll() is not None for c in self._children)
            )

        ready = wait_until(settled, READY_SECONDS, every=0.1) and self._answers()
        self._heed()
        if not ready:
            dead = next((c for c in self._children if c.process and c.process.poll() is not None), None)
            log = self._log(dead.name if dead else "service")
            raise StartError(f"{log.stem} did not start. The end of {log}:\n{tail(log)}")
        self._say("service ready")

    def _answers(self) -> bool:
        try:
            # A proxy that the environment names is no way to this machine.
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    # Keeping up

    def _revive(self, child: Child) -> None:
        if child.process is None or child.process.poll() is None or self.stopping:
            return
        now = time.monotonic()
        child.ends.append(now)
        while child.ends[0] < now - ENDS_WITHIN_SECONDS:
            child.ends.popleft()
        log = self._log(child.name)
        if len(child.ends) >= ENDS_MAX:
            raise StartError(f"{child.name} keeps ending. The end of {log}:\n{tail(log)}")
        self._say(f"{child.name} ended with status {child.process.returncode}: starting it again")
        if not wait_until(lambda: self.stopping, 0.1 * 2 ** len(child.ends)):
            self._launch(child)

    # Stopping

    def _stop(self) -> None:
        # A second Ctrl-C must not leave half of it running; stopping is bounded by the deadlines below.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._stop_all()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _stop_all(self) -> None:
        self.stopping = True
        running = [child.process for child in self._children if child.process is not None]
        if running or self._servers:
            self._say("Stopping ...")
        # All are asked at once, so that stopping takes as long as the slowest and not as all together.
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for child in self._children:
            if child.process is not None:
                stop(child.process, signal.SIGTERM, child.stop_seconds)
                child.process = None
        for server in reversed(self._servers):
            server.stop()
        self._servers.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
